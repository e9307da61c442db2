//! x86-64: user.
#![cfg_attr(not(test), no_std)]
#![allow(unsafe_code, reason = "instructions that only assembly can name")]

pub mod marker;
