//! A stream of characters, one way.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use corey_lib_bench::served::{Load, PIECE, is_piece, piece};
use corey_lib_bench::{Place, Span, run_region_between, table};

use crate::guest::Failure;
use crate::work::Linux;

/// The one connection, and what moves.
struct Stream {
    connection: TcpStream,
    bytes: Vec<u8>,
    /// Pieces so far.
    done: u64,
    wrong: io::Result<()>,
}

impl Stream {
    fn note(&mut self, moved: io::Result<()>) {
        if self.wrong.is_ok() {
            self.wrong = moved;
        }
        self.done += 1;
    }

    fn receive(&mut self) {
        let moved = self.connection.read_exact(&mut self.bytes);
        self.note(moved);
    }

    /// Looks at what was received.
    fn check(&mut self) {
        if self.wrong.is_ok() && !is_piece(&self.bytes, (self.done - 1) * PIECE as u64) {
            self.wrong = Err(io::Error::other("a byte is not the one that was sent"));
        }
    }

    fn send(&mut self) {
        let moved = self.connection.write_all(piece(self.done * PIECE as u64));
        self.note(moved);
    }

    /// The client ends its data after it has got all.
    fn end(mut self) -> io::Result<()> {
        self.wrong?;
        match self.connection.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(io::Error::other("the stream does not end where it should")),
        }
    }
}

/// Receives piece by piece.
pub(super) fn receive(place: Place<'_>, listener: &TcpListener) -> Result<Span, Failure> {
    move_pieces::<{ table::TCP_BULK_IN }>(place, listener, Load::In, Stream::receive, Stream::check)
}

/// Sends piece by piece.
pub(super) fn send(place: Place<'_>, listener: &TcpListener) -> Result<Span, Failure> {
    move_pieces::<{ table::TCP_BULK_OUT }>(place, listener, Load::Out, Stream::send, |_| {})
}

/// Moves each piece by `one`; what `check` does is not counted.
fn move_pieces<const ID: u32>(
    place: Place<'_>,
    listener: &TcpListener,
    load: Load,
    one: fn(&mut Stream),
    check: fn(&mut Stream),
) -> Result<Span, Failure> {
    let failed = |error: io::Error| Failure::guest("a stream", &error);
    let (connection, _) = listener.accept().map_err(failed)?;
    let mut stream = Stream { connection, bytes: vec![0; PIECE], done: 0, wrong: Ok(()) };
    let several = |stream: &mut Stream, count: u64| {
        for _ in 0..count {
            one(stream);
            check(stream);
        }
    };
    several(&mut stream, load.warm());
    let stream = RefCell::new(stream);
    let span = run_region_between::<ID, _>(
        &Linux,
        place,
        |_| one(&mut stream.borrow_mut()),
        |_| check(&mut stream.borrow_mut()),
    );
    let mut stream = stream.into_inner();
    several(&mut stream, load.cool());
    let ended = stream.connection.shutdown(Shutdown::Write).and_then(|()| stream.end());
    ended.map_err(failed)?;
    Ok(span)
}
