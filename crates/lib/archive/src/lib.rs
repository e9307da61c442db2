//! Reads and writes the two formats of the boot medium: the cpio archive and the symbol table.
//!
//! **Paper.** None: the paper's programs came from a file server. Here one archive carries them on
//! every boot path, as a GRUB module and as the initial ramdisk of a direct boot.
//!
//! **Invariants.** The bytes read are hostile: whatever they are, the answer is a value, never a
//! panic. What a writer of this crate writes, its reader reads back unchanged.
//!
//! **Sharing.** None: no state; readers borrow the bytes they are given.
//!
//! **Testing.** Unit tests below; `tests/hostile.rs` feeds random and damaged bytes.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod newc;
pub mod symbols;
mod writer;

pub use newc::{Archive, Corrupt, File, Files, Flaw};
pub use writer::{DataAt, Writer};
