//! Reference models of the kernel objects.
#![cfg_attr(not(test), no_std)]
