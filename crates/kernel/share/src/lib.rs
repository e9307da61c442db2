//! Kernel object: share.
#![cfg_attr(not(test), no_std)]
