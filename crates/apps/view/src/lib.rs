//! The live screen of the program `cores`: what pictures of cores say, as rows of text.
//!
//! **Paper.** None; it makes §3's sharing visible.
//!
//! **Invariants.** A frame is one line for the console, so that no other program's line falls into it. It begins with
//! the cursor anywhere and ends with it above the last row of the terminal: the line break that follows moves
//! nothing. What others print scrolls below the frame.
//!
//! **Sharing.** None: values in, text out.
//!
//! **Testing.** Unit tests on frames; `images/cores` draws them in the machine.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod frame;
mod history;
mod holders;

pub use frame::{Frame, Size};
pub use history::{History, Rates};
