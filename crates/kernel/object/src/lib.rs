//! Object IDs, headers, slabs, handles, links and reclaim.
#![cfg_attr(not(test), no_std)]
