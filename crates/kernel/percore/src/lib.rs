//! What every core has, and how cores ask each other for things: epochs, mailboxes, core sets, and what to do when
//! one does not answer.
//!
//! **Paper.** §3.1: kernel state is per core. The 2008 prototype sent interrupts without acknowledgement;
//! here every message is answered.
//!
//! **Invariants.** An epoch is odd exactly while its core runs kernel code that may hold pointers to
//! objects. A mailbox is served in waits, at kernel entry and at kernel exit, never between a check and
//! the store it protects; handlers take no lock and wait for nothing.
//!
//! **Sharing.** Epoch: written by its core, read by reclaimers. Mailbox: one pending map that senders
//! set and the owner clears, one slot per (sender, owner). Notice: written by its core, read by those whom it
//! notifies. Fate: written once, when its core is found gone. Each on 128-byte lines of its own. Nobody
//! touches another core's lines unless the two share something.
//!
//! **Testing.** Unit tests, models of epoch and mailbox (loom, shuttle) from this source, and every kernel test on
//! the fake machine.
#![cfg_attr(not(any(test, loom, shuttle)), no_std)]
#![allow(
    unsafe_code,
    reason = "declares the constructor of ObjectWords; its promise is used by the object crate"
)]

mod epoch;
mod fate;
mod line;
mod local;
mod mailbox;
mod notice;
mod picture;
mod run_place;
mod set;
mod vigil;
mod words;

pub use epoch::{Entered, Epoch, Snapshot};
pub use fate::{Fate, Gone, Losses};
pub use line::Line;
pub use local::{Counters, Local, Paging, PerCore, Running, Serve};
pub use mailbox::{Delivery, Mailbox, Message, MessageKind, Taken, Ticket};
pub use notice::Notice;
pub use picture::{Numbers, Picture};
pub use run_place::{RUN_LINKS, RUN_WORDS, RunPlace};
pub use set::{CoreSet, SharedCoreSet};
pub use vigil::Watched;
pub use words::ObjectWords;
