//! Threads on cores: closures that run elsewhere and are waited for before what they borrow goes.
//!
//! **Paper.** §3 and §4.1: an application places its work on cores itself, and says what they share.
//!
//! **Invariants.**
//! 1. A [`Scope`] ends after its last thread. So a closure may borrow what lives outside the scope.
//! 2. A thread's stack is mapped in the thread's own root tree, and in those of the threads it spawns itself:
//!    below it and above it nothing is mapped. Thread stacks and message pages lie at addresses that only
//!    their core uses, so no address means two things on two cores.
//! 3. A spawn that fails leaves nothing.
//!
//! **Sharing.** A thread gets a copy of its parent's mappings as they are when it is spawned: the program's image
//! with its statics, what is linked as an interior tree, the parent's own stack, and the parent's parents'.
//! It does not see the stacks of its siblings, and its parent does not see its stack. What the parent maps
//! later is not there for the thread, and using it is a fault; what is mapped later in an interior tree both
//! link is. Rust's lifetimes say the same: a reference that outlives the scope points into a stack of an
//! ancestor, or to statics. A pointer whose lifetime was erased is on its own.
//!
//! A thread holds the shares of its parent and one of its own, which pays for its stack, its tables, and
//! what it allocates.
//!
//! **Testing.** `images/test-cores`, `images/test-locality` on machines of many shapes, `images/example-*`.
#![no_std]
#![allow(unsafe_code, reason = "closures and results pass through mapped memory; a fence is promised")]

mod failure;
mod fence;
mod here;
mod message;
mod order;
mod scope;

pub use failure::{Failure, How};
pub use fence::CoreFence;
pub use here::Here;
pub use order::{Order, locality};
pub use scope::{Handle, Scope};

/// Most cores a scope can use.
pub const MAX_CORES: usize = 256;
