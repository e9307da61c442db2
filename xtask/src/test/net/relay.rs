//! A bad wire in real time: what comes out of one socket goes into the other, late, out of order, twice or not at all.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use corey_test_host_net::{Faults, Wire};

use crate::Result;
use crate::qemu::Cable;

/// Bytes of the longest datagram.
const ROOM: usize = 1 << 16;
/// Longest wait for room in a socket; then the frame is lost.
const PATIENCE: Duration = Duration::from_millis(100);

/// Our end of a cable.
#[derive(Debug)]
pub(super) struct End {
    socket: UnixDatagram,
    there: PathBuf,
}

impl End {
    /// Plugs in; QEMU's end need not be there yet.
    pub(super) fn new(cable: &Cable) -> Result<Self> {
        let bind = |path: &Path| {
            // Left by a run that was killed.
            let _ = std::fs::remove_file(path);
            UnixDatagram::bind(path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let socket = bind(&cable.here)?;
        let _ = std::fs::remove_file(&cable.machine);
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { socket, there: cable.machine.clone() })
    }

    /// Sends a frame; false when it is lost, for want of room or of somebody who listens.
    pub(super) fn send(&self, frame: &[u8]) -> bool {
        self.socket.send_to(frame, &self.there).is_ok()
    }

    /// Has a thread receive frames from now on; it says with each that it came from `number`.
    pub(super) fn listen(&self, number: usize, to: Sender<Incoming>) -> Result<()> {
        let socket = self.socket.try_clone()?;
        std::thread::spawn(move || {
            let mut frame = vec![0; ROOM];
            while let Ok(length) = socket.recv(&mut frame) {
                if to.send((number, frame[..length].to_vec())).is_err() {
                    break;
                }
            }
        });
        Ok(())
    }
}

/// A wire between two cables, for as long as this process lives.
#[derive(Debug)]
pub(super) struct Relay {
    faults: Arc<Mutex<Faults>>,
}

impl Relay {
    /// Frames take `delay`, and suffer nothing at first.
    pub(super) fn start(ends: [End; 2], delay: Duration, seed: u64) -> Result<Self> {
        let faults = Arc::new(Mutex::new(Faults::default()));
        let (sender, incoming) = channel();
        for (number, end) in ends.iter().enumerate() {
            end.listen(number, sender.clone())?;
        }
        let suffered = Arc::clone(&faults);
        std::thread::spawn(move || {
            let wire = Wire::new(delay.as_micros() as u64, Faults::default(), seed);
            carry(&wire, &ends, &incoming, &suffered);
        });
        Ok(Self { faults })
    }

    /// What happens to frames from now on, in both directions.
    pub(super) fn set_faults(&self, faults: Faults) {
        *self.faults.lock().expect("nobody panics with it") = faults;
    }
}

/// A frame, and the end it came from.
pub(super) type Incoming = (usize, Vec<u8>);

/// Moves the wire's time with ours.
fn carry(wire: &Wire, ends: &[End; 2], incoming: &Receiver<Incoming>, faults: &Mutex<Faults>) {
    let ports = [wire.port(), wire.port()];
    let start = Instant::now();
    loop {
        let now = start.elapsed().as_micros() as u64;
        while wire.now() < now {
            wire.advance(now);
        }
        for (port, end) in ports.iter().zip(ends) {
            while let Some(frame) = port.receive() {
                end.send(&frame);
            }
        }
        let next = wire.next().map_or(1_000_000, |at| at.saturating_sub(now));
        match incoming.recv_timeout(Duration::from_micros(next)) {
            Ok((from, frame)) => {
                wire.set_faults(*faults.lock().expect("nobody panics with it"));
                ports[from].send(&frame);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cable(name: &str) -> (Cable, UnixDatagram) {
        let path =
            |end: &str| std::env::temp_dir().join(format!("corey-relay-{}-{name}-{end}", std::process::id()));
        let cable = Cable { machine: path("machine"), here: path("here") };
        let _ = std::fs::remove_file(&cable.machine);
        (cable.clone(), UnixDatagram::bind(&cable.machine).expect("a path of its own"))
    }

    /// Frames numbered from 0 that went in at one end, as they came out of the other.
    fn carried(faults: Faults, count: u32, name: &str) -> Vec<u32> {
        let ((a, from), (b, to)) = (cable(&format!("{name}-a")), cable(&format!("{name}-b")));
        let ends = [&a, &b].map(|cable| {
            let socket = UnixDatagram::bind(&cable.here).expect("a path of its own");
            End { socket, there: cable.machine.clone() }
        });
        let relay = Relay::start(ends, Duration::from_millis(1), 7).expect("threads");
        relay.set_faults(faults);
        to.set_read_timeout(Some(Duration::from_millis(500))).expect("a time");
        let out = std::thread::spawn(move || {
            let mut frame = [0; 4];
            std::iter::from_fn(|| to.recv(&mut frame).ok().map(|_| u32::from_be_bytes(frame))).collect()
        });
        for number in 0..count {
            from.send_to(&number.to_be_bytes(), &a.here).expect("somebody listens");
        }
        let out = out.join().expect("it does not panic");
        for path in [a.machine, a.here, b.machine, b.here] {
            let _ = std::fs::remove_file(path);
        }
        out
    }

    #[test]
    fn a_good_wire_keeps_all_frames_in_their_order() {
        assert_eq!(carried(Faults::default(), 200, "good"), (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn a_bad_wire_loses_repeats_and_reorders() {
        let faults = Faults { loss: 200, duplication: 100, reordering: 300, corruption: 0 };
        let out = carried(faults, 400, "bad");
        let mut once = out.clone();
        once.sort_unstable();
        assert_ne!(out, once, "nothing was reordered");
        once.dedup();
        assert!(once.len() < out.len(), "nothing was repeated");
        assert!((270..370).contains(&once.len()), "{} of 400 arrived, 320 were expected", once.len());
    }
}
