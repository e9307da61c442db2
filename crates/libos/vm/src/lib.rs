//! Library operating system: vm.
#![cfg_attr(not(test), no_std)]
