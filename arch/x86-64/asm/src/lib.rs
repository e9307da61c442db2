//! x86-64: asm.
#![cfg_attr(not(test), no_std)]
