//! Kernel object: segment.
#![cfg_attr(not(test), no_std)]
