//! Frames, stocks, per-core caches and table frames.
#![cfg_attr(not(test), no_std)]
