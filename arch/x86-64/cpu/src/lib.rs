//! One processor: what it can do, its tables, and the ways into the kernel.
//!
//! **Paper.** §6. Manuals: Intel SDM vol. 3A ch. 5–7, AMD APM vol. 2 ch. 4 and 8.
//!
//! **Invariants.** AMD and Intel differ as data found at boot, never as another path. Every way in ends on
//! the core's own kernel stack with GS at its [`Block`]; #DF, NMI and #MC have stacks of their own and do not
//! use GS. The kernel never touches FPU state, except that a fresh context begins with the initial one
//! ([`enter_user`]): what XSAVE keeps where there is XSAVE, else what FXSAVE keeps.
//!
//! **Sharing.** The interrupt table and [`Features`] are written once, before other cores start.
//!
//! **Testing.** In QEMU: test programs enter in every way there is.
#![no_std]
#![allow(unsafe_code, reason = "descriptor tables, entry code, user copies")]

mod block;
mod copy;
mod entry;
mod features;
mod isolated;
mod page;
mod tables;

pub use block::Block;
pub use copy::{copy_from_user, copy_to_user};
pub use entry::{Entries, Words, enter_user};
pub use features::{Features, features, identity, name};
pub use page::EntryPage;
pub use tables::{IST_STACKS, Vectors, enable_extensions, interrupt_table, load};
