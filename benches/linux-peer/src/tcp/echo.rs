//! Requests that come back as they are.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use corey_lib_bench::served::{INFLIGHT, Load, REQUEST};
use corey_lib_bench::{Place, Span, run_region, table};

use crate::guest::Failure;
use crate::work::Linux;

/// What is said of the listener; connections are told apart by their position.
const LISTENER: u64 = u64::MAX;
/// Things that are said at once.
const BATCH: usize = 2 * INFLIGHT as usize;

/// All connections of a listener, and what `epoll` said of them last.
struct Echo<'a> {
    listener: &'a TcpListener,
    poll: OwnedFd,
    open: Vec<Option<TcpStream>>,
    said: [libc::epoll_event; BATCH],
    /// How much of that is there, and was dealt with.
    there: usize,
    next: usize,
    /// Bytes that were sent back.
    bytes: u64,
}

impl<'a> Echo<'a> {
    fn new(listener: &'a TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        // SAFETY: takes no memory.
        let poll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if poll < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made, and nobody else's.
        let poll = unsafe { OwnedFd::from_raw_fd(poll) };
        let said = [libc::epoll_event { events: 0, u64: 0 }; BATCH];
        let echo = Self { listener, poll, open: Vec::new(), said, there: 0, next: 0, bytes: 0 };
        echo.watch(listener.as_raw_fd(), LISTENER)?;
        Ok(echo)
    }

    /// Has `epoll` say `number` when there is something to read.
    fn watch(&self, file: i32, number: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: number };
        // SAFETY: open files, and an event to read.
        let added =
            unsafe { libc::epoll_ctl(self.poll.as_raw_fd(), libc::EPOLL_CTL_ADD, file, &raw mut event) };
        if added == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Serves until `count` requests are answered.
    fn until(&mut self, count: u64) -> io::Result<()> {
        while self.bytes / (REQUEST as u64) < count {
            self.turn()?;
        }
        Ok(())
    }

    /// Deals with the next thing that is said.
    fn turn(&mut self) -> io::Result<()> {
        if self.next == self.there {
            self.wait()?;
        }
        let number = self.said[self.next].u64;
        self.next += 1;
        if number == LISTENER { self.accept() } else { self.answer(number as usize) }
    }

    fn wait(&mut self) -> io::Result<()> {
        let (said, room) = (self.said.as_mut_ptr(), BATCH as i32);
        // SAFETY: an open file, and room for so many.
        let there = unsafe { libc::epoll_wait(self.poll.as_raw_fd(), said, room, -1) };
        self.there = usize::try_from(there).map_err(|_| io::Error::last_os_error())?;
        self.next = 0;
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((connection, _)) => {
                    self.watch(connection.as_raw_fd(), self.open.len() as u64)?;
                    self.open.push(Some(connection));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn answer(&mut self, number: usize) -> io::Result<()> {
        let Some(connection) = &mut self.open[number] else { return Ok(()) };
        let mut bytes = [0; REQUEST];
        let came = connection.read(&mut bytes)?;
        if came == 0 {
            self.open[number] = None;
            return Ok(());
        }
        connection.write_all(&bytes[..came])?;
        self.bytes += came as u64;
        Ok(())
    }
}

/// Answers until the client has ended all connections.
pub(super) fn serve(place: Place<'_>, listener: &TcpListener) -> Result<Span, Failure> {
    let failed = |error: io::Error| Failure::guest("a connection", &error);
    let (warm, cool) = (Load::Echo.warm(), Load::Echo.cool());
    let mut echo = Echo::new(listener).map_err(failed)?;
    echo.until(warm).map_err(failed)?;
    let wrong = RefCell::new(Ok(()));
    let span = run_region::<{ table::TCP_ECHO }, _>(&Linux, place, |index| {
        if let Err(error) = echo.until(warm + index + 1) {
            *wrong.borrow_mut() = Err(error);
        }
    });
    let drained = wrong.into_inner().and_then(|()| {
        echo.until(warm + place.iters + cool)?;
        while echo.open.iter().any(Option::is_some) {
            echo.turn()?;
        }
        Ok(())
    });
    drained.map_err(failed)?;
    Ok(span)
}
