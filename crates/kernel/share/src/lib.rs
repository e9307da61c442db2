//! Shares: tables that decide which cores can see which objects.
//!
//! **Paper.** §3.2. Departures: a share carries a quota of pages and objects, carved from its parent's;
//! look-ups take no lock and write nothing.
//!
//! **Invariants.**
//! 1. An object's references = the shares naming it. A share's = the one parent entry + the cores that
//!    hold it. The parent's entry keeps a share alive, and grants nothing.
//! 2. Every share that names an object is charged the object's pages and one object.
//! 3. When an object leaves a share, the share's holders go into the object's set of cores that could
//!    have seen it; a core stops being a holder only between two kernel entries.
//! 4. A node of the table is published once and freed with the share; an entry changes under the share's
//!    lock, and its link's ID is written last.
//!
//! **Sharing.** The table and the set of holders, by the share's holders; `Shared<Quota>` for updates.
//! A share one core holds touches no line of another core's.
//!
//! **Testing.** `kernel/corey/tests` on the fake machine against the model.
#![cfg_attr(not(any(test, loom, shuttle)), no_std)]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

mod authority;
mod calls;
#[cfg(all(test, any(loom, shuttle)))]
mod models;
mod share;
mod table;

pub use authority::Authority;
pub use calls::{Call, ShareApi};
pub use share::{Quota, Share};
