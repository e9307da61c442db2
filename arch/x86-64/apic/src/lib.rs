//! x86-64: apic.
#![cfg_attr(not(test), no_std)]
