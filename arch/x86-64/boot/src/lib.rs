//! x86-64: boot.
#![cfg_attr(not(test), no_std)]
