//! The call ring: system calls through memory that a program and a kernel core share.
//!
//! **Paper.** §3.5: a kernel core polls a *system-call device*, a ring of calls in a shared segment; programs on other cores
//! call without entering their kernels. What lies in the ring is ours. Its aim are few coherence events: four for a call by
//! itself, which is the least, and 0.75 for each of 32 that are submitted together.
//!
//! **Invariants.**
//! 1. There are no indices in the ring. A *phase* bit says that a word was written in this round, and turns with each. Both
//!    sides count for themselves, and have the [`Shape`] from a call.
//! 2. A request is one to four units of 16 bytes in one line. Its first word is stored last. What does not fit into the rest
//!    of a line begins the next one, and a *skip* is where it did not fit.
//! 3. The place behind the last request of a line says that nothing is there, and did before that request was published:
//!    what an argument was in the round before is never looked at.
//! 4. Calls are completed in the order in which they were submitted; so completions need no names, and a program knows that
//!    there is room from how many it took. A call that would block is not permitted over a ring.
//! 5. A completion has an error or a value of 56 bits. A result of two words, or of more bits, lies in the slot's wide area,
//!    stored before its completion; a request need not name a place for it.
//! 6. A call of six arguments of which but the third and the sixth are those of the last such call is a *repeat*, of one unit. Both
//!    sides keep that call for themselves.
//! 7. The kernel loads each word once. What it finds decides how many units on, or in the next line, it looks next, and nothing
//!    else about where.
//!
//! **Sharing.** All of it: one core writes requests, another one completions and a line that says whether it sleeps. Each side
//! keeps back what it writes until a line is full, or its turn ends, and then stores it from the end to the beginning:
//!
//! ```text
//! the program's core                              the kernel core
//!                                                 polls the first word of line 0: it has that line
//! submit, submit, submit: in its own memory       (still has it: nothing moves)
//! submit: the line is full
//!   stores units 3, 2, 1, 0        ── line 0 ──►  sees unit 0, and with it the others
//! submit …                                        four calls: results in its own memory
//! submit: the line is full         ── line 1 ──►  four calls
//!                                                   the line of eight completions is full
//! flush; polls completion 0        ◄── line ───     stores completions 7 … 0
//! takes eight results, none of which moves a line
//! ```
//!
//! A line that goes over is two coherence events: it is written while the other core has it, and then read. 32 calls of one
//! unit are eight lines of requests and four of completions: 24 / 32 = 0.75 for each. Calls of two units (up to three whole
//! arguments) are 40 / 32 = 1.25. A call by itself is one line of each: 4. If words were published as they come, a core that
//! polls a line would take it away between any two stores. A wide result adds a line's share.
//!
//! A kernel core that finds nothing may sleep ([`Consumer::arm`]):
//!
//! ```text
//! the program's core                              the kernel core
//! stores a request                                stores armed: an odd number
//! store→load fence                                store→load fence
//! loads armed: odd, and not rung yet? rings       looks for a request: none? sleeps
//! ```
//!
//! One of the two sees the other's store. The next [`Consumer::take`] makes it even. The line moves only then.
//!
//! **Testing.** Models under loom and shuttle, of one kernel core and several programs, with mistakes planted; a million random
//! operations against a plain queue; a directory of lines that counts what moves; a hostile program's words.
#![cfg_attr(not(any(test, loom, shuttle)), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

mod consume;
mod format;
#[cfg(all(test, any(loom, shuttle)))]
mod models;
mod shape;
mod submit;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
mod words;

pub use consume::{BUDGET, Broken, Consumer, Request, Taken};
pub use format::NUMBERS;
pub use shape::Shape;
pub use submit::{Env, Refused, Submitter, Ticket};
pub use words::{Mapped, Words};
