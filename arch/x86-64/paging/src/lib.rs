//! x86-64: paging.
#![cfg_attr(not(test), no_std)]
