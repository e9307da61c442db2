//! The console driver: UART and VGA text.
#![cfg_attr(not(test), no_std)]
