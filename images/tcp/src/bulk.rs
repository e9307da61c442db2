//! A stream of characters, one way.

use alloc::boxed::Box;
use alloc::vec;
use corey_lib_bench::served::{Load, PIECE, is_piece, piece};
use corey_libos_net::{Connection, Error, Event, Link, Listener, Stack};

use crate::server::Service;

/// The one connection, and how far it is.
#[derive(Default)]
struct Stream {
    connection: Option<Connection>,
    /// Whole pieces.
    done: u64,
    /// Bytes of the next one.
    part: usize,
    wrong: Option<&'static str>,
}

impl Stream {
    fn accept<L: Link>(&mut self, stack: &mut Stack<L>, listener: Listener, event: Event) {
        if self.connection.is_none() && event == Event::Accept(listener) {
            self.connection = stack.accept(listener).ok();
        }
    }

    /// Takes note of what a read or a write moved; whether it moved anything.
    #[inline(always)]
    fn note(&mut self, moved: Result<usize, Error>) -> bool {
        match moved {
            Ok(count @ 1..) => {
                self.part += count;
                if self.part == PIECE {
                    self.part = 0;
                    self.done += 1;
                }
                true
            }
            Err(Error::WouldBlock | Error::NoBuffers) => false,
            Ok(0) | Err(_) => {
                self.wrong.get_or_insert("the stream ended early");
                true
            }
        }
    }

    /// When something is wrong there is nothing to wait for.
    #[inline(always)]
    fn done(&self) -> u64 {
        if self.wrong.is_some() { u64::MAX } else { self.done }
    }
}

/// Receives.
pub(crate) struct In {
    stream: Stream,
    /// The piece that comes.
    bytes: Box<[u8]>,
}

impl Default for In {
    fn default() -> Self {
        Self { stream: Stream::default(), bytes: vec![0; PIECE].into_boxed_slice() }
    }
}

impl Service for In {
    const LOAD: Load = Load::In;

    fn hear<L: Link>(&mut self, stack: &mut Stack<L>, listener: Listener, event: Event) {
        self.stream.accept(stack, listener, event);
    }

    #[inline(always)]
    fn go_on<L: Link>(&mut self, stack: &mut Stack<L>) -> bool {
        let Some(connection) = self.stream.connection else { return false };
        let room = self.bytes.get_mut(self.stream.part..).unwrap_or(&mut []);
        self.stream.note(stack.read(connection, room))
    }

    #[inline(always)]
    fn done(&self) -> u64 {
        self.stream.done()
    }

    fn check(&mut self) {
        let from = self.stream.done.saturating_sub(1) * PIECE as u64;
        if !is_piece(&self.bytes, from) {
            self.stream.wrong.get_or_insert("a byte is not the one that was sent");
        }
    }

    /// The client has ended its data.
    fn end<L: Link>(&mut self, stack: &mut Stack<L>) {
        let Some(connection) = self.stream.connection else { return };
        match stack.read(connection, &mut [0]) {
            Err(Error::WouldBlock) => {}
            Ok(0) => {
                let _ = stack.close(connection);
                self.stream.connection = None;
            }
            Ok(_) | Err(_) => _ = self.stream.wrong.get_or_insert("the stream does not end where it should"),
        }
    }

    fn wrong(&self) -> Option<&'static str> {
        self.stream.wrong
    }
}

/// Sends.
#[derive(Default)]
pub(crate) struct Out(Stream);

impl Service for Out {
    const LOAD: Load = Load::Out;

    fn hear<L: Link>(&mut self, stack: &mut Stack<L>, listener: Listener, event: Event) {
        self.0.accept(stack, listener, event);
    }

    #[inline(always)]
    fn go_on<L: Link>(&mut self, stack: &mut Stack<L>) -> bool {
        let Some(connection) = self.0.connection else { return false };
        let bytes = piece(self.0.done * PIECE as u64);
        self.0.note(stack.write(connection, bytes.get(self.0.part..).unwrap_or(&[])))
    }

    #[inline(always)]
    fn done(&self) -> u64 {
        self.0.done()
    }

    fn end<L: Link>(&mut self, stack: &mut Stack<L>) {
        if let Some(connection) = self.0.connection.take() {
            let _ = stack.close(connection);
        }
    }

    fn wrong(&self) -> Option<&'static str> {
        self.0.wrong
    }
}
