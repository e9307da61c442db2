//! Locks and cells for data that a second core may touch.
#![cfg_attr(not(test), no_std)]
