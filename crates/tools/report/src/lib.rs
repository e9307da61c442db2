//! Makes one page of benchmark records: tables, charts and predictions, nothing loaded from elsewhere.
//!
//! **Paper.** §7 shows throughput against cores on two machines; without those, this shows counts against cores, time as a ratio,
//! and what `corey-tools-model` predicts from the counts.
//!
//! **Invariants.** Whatever a record holds is text on the page, never markup. What is missing is said, not left out.
//!
//! **Sharing.** None: from texts to a text.
//!
//! **Testing.** Pages of made-up records, hostile ones too, go through a reader that insists on balanced tags.
#![forbid(unsafe_code)]

mod chart;
mod charts;
pub mod claim;
mod hosted;
mod markup;
mod page;
mod provenance;
pub mod records;
pub mod rows;
pub mod series;
pub mod split;
mod tables;
#[cfg(test)]
mod wellformed;

pub use page::html;
pub use records::{Figures, Records};
pub use rows::{Row, System, median, or_dash, short};

/// What every output says of what was not measured.
pub const LIMITS: &str = "Counts see no page walks, no DMA, no instruction fetch and no prefetch, and caches are infinite.\n\
                          Times are of QEMU's emulation (TCG): they are not hardware times, and only the ratio of two guests in \
                          one run means something.";
