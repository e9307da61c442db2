//! x86-64: cpu.
#![cfg_attr(not(test), no_std)]
