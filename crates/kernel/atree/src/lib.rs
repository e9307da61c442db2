//! Kernel object: atree.
#![cfg_attr(not(test), no_std)]
