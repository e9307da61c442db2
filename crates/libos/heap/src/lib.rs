//! Library operating system: heap.
#![cfg_attr(not(test), no_std)]
