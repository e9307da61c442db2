//! Library operating system: sys.
#![cfg_attr(not(test), no_std)]
