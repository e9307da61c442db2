//! One core's blocks: epoch, mailbox, core sets.
#![cfg_attr(not(test), no_std)]
