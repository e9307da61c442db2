//! x86-64: user.
#![cfg_attr(not(test), no_std)]
