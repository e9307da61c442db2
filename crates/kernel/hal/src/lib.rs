//! What the kernel needs of a machine: types for cores and memory, and traits only.
//!
//! **Paper.** §6 names what was architecture specific in the prototype: page-table manipulation and
//! CPU control. This crate is that boundary; `arch/x86-64` and `crates/test/hal-host` implement it.
//!
//! **Invariants.** No code here, only contracts: an implementation may assume what a `# Safety`
//! section says, and the kernel may assume every other sentence. A [`Platform`] value belongs to one
//! core and is never used on another.
//!
//! **Sharing.** None: everything takes the calling core's own [`Platform`].
//!
//! **Testing.** `crates/test/hal-host` is the fake: 16 cores, a software MMU with a TLB per core.
#![no_std]
#![forbid(unsafe_op_in_unsafe_fn)]
#![allow(unsafe_code, reason = "declares unsafe trait methods; implements nothing")]

mod boot;
mod card;
mod device;
mod map;
mod memory;
mod platform;
mod topology;
mod traps;

pub use boot::{Boot, BootAlloc, BootInfo, Injected, Module, Range};
pub use card::{CardCounts, Direction, Done, Filter, NetworkCard};
pub use device::{Dma, Mmio};
pub use map::{Area, Field, bytes_of};
pub use memory::{Access, CoreId, Entry, Frame, MAX_CORES, PAGE_SIZE, USER_END, UserFault};
pub use platform::{Cells, Exit, Machine, Pixels, Platform, Ports, Sign};
pub use topology::{MAX_NODES, NodeMemory, Place, Topology};
pub use traps::{Cause, Fault, Outcome, Registers, Traps, UserContext};
