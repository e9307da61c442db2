//! x86-64, assembled: the machine the kernel image joins to the kernel.
#![cfg_attr(not(test), no_std)]
