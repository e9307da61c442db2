//! PCI configuration space: a scan of functions and BAR sizes.
#![cfg_attr(not(test), no_std)]
