//! One core's kernel, assembled from the object crates.
#![cfg_attr(not(test), no_std)]
