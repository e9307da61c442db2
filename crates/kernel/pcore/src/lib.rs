//! Kernel object: pcore.
#![cfg_attr(not(test), no_std)]
