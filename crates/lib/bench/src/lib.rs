//! Names, markers, records, barriers and turns that our guest and the Linux peer share.
#![cfg_attr(not(test), no_std)]
