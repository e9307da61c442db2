//! The contract between user programs and the kernel: system-call table, references, errors, layouts.
#![cfg_attr(not(test), no_std)]
