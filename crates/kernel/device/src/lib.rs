//! Kernel object: device.
#![cfg_attr(not(test), no_std)]
