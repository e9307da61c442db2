//! What the kernel needs of a machine: traits only.
#![cfg_attr(not(test), no_std)]
