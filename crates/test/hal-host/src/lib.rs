//! A fake many-core machine for host tests.
#![cfg_attr(not(test), no_std)]
