//! TCP (RFC 9293): a state machine over segments, and the connections of one stack.
//!
//! [`tcb`], [`input`], [`output`] and [`timer`] are the machine: they see one connection and send nothing. [`connections`]
//! finds the connection of a segment, [`life`] does what
//! follows, [`sending`] puts segments onto the link; [`calls`] is what an application asks.

mod calls;
mod congestion;
mod connections;
mod input;
mod life;
mod list;
mod listen;
mod output;
mod reassembly;
mod rtt;
pub(crate) mod segment;
mod sending;
pub(crate) mod seq;
#[cfg(test)]
mod states;
pub(crate) mod tcb;
mod time_wait;
mod timer;

pub(crate) use connections::{Reply, Tcp};
