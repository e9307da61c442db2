//! Library operating system: rt.
#![cfg_attr(not(test), no_std)]
