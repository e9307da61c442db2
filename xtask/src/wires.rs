//! Wires: sockets of this machine that the network cards of a QEMU machine lead to, frame by frame.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::Result;

/// A wire for each card.
#[derive(Debug)]
pub(crate) struct Wires {
    paths: Vec<PathBuf>,
    ends: Vec<End>,
}

/// This machine's end of a wire: where QEMU finds it, and what came of that.
#[derive(Debug)]
struct End {
    listener: UnixListener,
    socket: Option<UnixStream>,
}

impl Wires {
    /// So many wires, by files in `folder`, which the machine finds when it starts.
    pub(crate) fn new(folder: &Path, cards: u32) -> Result<Self> {
        let paths: Vec<PathBuf> = (0..cards).map(|card| folder.join(format!("wire{card}"))).collect();
        let ends = paths.iter().map(|path| End::bind(path)).collect::<Result<_>>()?;
        Ok(Self { paths, ends })
    }

    /// Their files, by card.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// This machine's end of a card's wire, once the machine runs.
    pub(crate) fn socket(&mut self, card: usize) -> io::Result<UnixStream> {
        let end = self.ends.get_mut(card).ok_or_else(|| io::Error::other("there is no such card"))?;
        end.socket()
    }
}

impl End {
    fn bind(path: &Path) -> Result<Self> {
        // Of a run that was killed.
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).map_err(|error| format!("{}: {error}", path.display()))?;
        // The machine is there before its guest says anything.
        listener.set_nonblocking(true)?;
        Ok(Self { listener, socket: None })
    }

    fn socket(&mut self) -> io::Result<UnixStream> {
        if self.socket.is_none() {
            let (socket, _) = self.listener.accept()?;
            socket.set_nonblocking(false)?;
            self.socket = Some(socket);
        }
        self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?.try_clone()
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        for path in &self.paths {
            // It may be gone.
            let _ = std::fs::remove_file(path);
        }
    }
}
