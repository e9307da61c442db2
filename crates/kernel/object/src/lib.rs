//! What all kernel objects have in common: identifiers, headers, references, memory, and its return.
//!
//! **Paper.** §3.2: objects have 64-bit IDs and are reached through shares; the kernel counts references.
//! We add that memory comes back only when no core can hold a pointer.
//!
//! **Invariants.**
//! 1. Object memory is type-stable: a frame of slots holds slots for ever, so a stale pointer reads a
//!    header, and the header's ID says that the object is gone. IDs are never reused.
//! 2. A [`Handle`] borrows from the kernel entry ([`Entered`]) and so cannot outlive the call. Whoever
//!    unlinks an object names every core that could have looked it up; its slot is reused only when each of
//!    them has left the kernel.
//! 3. An object that only one core could ever see is freed without asking anybody, at that core's next
//!    entry.
//! 4. A type's slot is read as that type only: the header carries the type.
//!
//! **Sharing.** Per home core a `Shared<Slab>`, a `Shared<Limbo>` and a `Shared<WaitList>`; an object's header, when its share is
//! shared. Private objects: none.
//!
//! **Testing.** Unit tests here; `kernel/corey/tests` on the fake machine: stress with an audit.
#![cfg_attr(not(any(test, loom, shuttle)), no_std)]
#![allow(unsafe_code, reason = "turns links into references; the rules are on the types")]

mod ctx;
mod header;
mod limbo;
mod link;
mod slab;
mod wait;

pub use corey_kernel_percore::Entered;
pub use ctx::{CoreSlot, Ctx, Hooks, Move, Posts, Take, Transfer, World};
pub use header::{Handle, Header, Object, SLOT};
pub use link::{Link, LinkCell, NODE_ENTRIES, Node, NodeEntry, RECORD_WORDS, RECORDS, Record, Records};
pub use wait::WaitList;
