//! A network card of the kernel's, frame by frame.
//!
//! **Paper.** §3.5: a device is fed with buffers of a segment. One page has one buffer, as in the 2008 release.
//!
//! **Invariants.** A page's header says whose it is: `ready` is 1 from the call that posts it until the kernel writes 0. Nothing in
//! a page that is the card's is read or written but that word.
//!
//! **Sharing.** None by trap: a card is one core's, and its pages are written by that core's kernel. By ring they are the kernel
//! core's, too: a buffer's header goes there and back. Several cores can use one card in a `Shared` (`shared.rs`): then they are
//! all those cores'.
//!
//! **Testing.** `images/test-net`, in the machine.
#![no_std]
#![allow(unsafe_code, reason = "packet buffers are mapped memory, by address")]

mod shared;
mod way;

use core::sync::atomic::{AtomicU32, Ordering};
use corey_abi::{
    DeviceCalls, DeviceEntry, Error, FRAME_BYTES, Home, Id, MapFlags, Name, NetworkStat, ObjRef, PAGE_BYTES,
    ShareCalls, buffer_op, device_kind,
};
use corey_libos_net::{EthernetAddress, Full, Link};
use corey_libos_sys::{Trap, address, address_mut, segment, sys};
use corey_libos_vm::Space;
pub use way::{ByRing, Feed, Way};

/// Where a page's header is: its frame begins a line.
const HEADER: u64 = 48;
/// Where its frame is.
const FRAME: u64 = 64;

/// Buffers for frames to come.
const RECEIVE: u64 = 128;
/// Buffers for frames to send.
const TRANSMIT: u64 = 128;
/// Buffers that go back to the card before it is told.
const BATCH: u64 = 16;

impl<W: Way> Link for Card<W> {
    fn address(&self) -> EthernetAddress {
        EthernetAddress(self.address)
    }

    fn receive<R>(&mut self, take: impl FnOnce(&[u8]) -> R) -> Option<R> {
        // A card that fails receives nothing: its owner sees that in its counters.
        Self::receive(self, take).ok().flatten()
    }

    fn transmit(&mut self, length: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), Full> {
        let fits = length <= FRAME_BYTES as usize;
        let sent = fits.then(|| {
            self.send(|room| {
                fill(room.get_mut(..length).unwrap_or(&mut []));
                length
            })
        });
        sent.and_then(Result::ok).ok_or(Full)
    }

    fn flush(&mut self) {
        // As above.
        let _ = self.poll();
    }
}

/// The numbers of the machine's network cards.
///
/// # Errors
///
/// As `device_list`.
pub fn cards() -> Result<heapless::Vec<u64, 16>, Error> {
    let mut entries = [DeviceEntry::default(); 32];
    let room = entries.len() as u64;
    let count = sys().device_list(0, address_mut(&mut entries), room)?;
    let there = entries.iter().take(count as usize);
    Ok(there.filter(|entry| entry.kind == device_kind::NETWORK).map(|entry| entry.device).take(16).collect())
}

/// A card, taken, and its packet buffers. Buffers go to it by way `W`.
#[derive(Debug)]
pub struct Card<W = Trap> {
    way: W,
    device: ObjRef,
    packets: ObjRef,
    /// Where they are mapped.
    base: u64,
    slot: u64,
    address: [u8; 6],
    /// Next frame to come, counted: its buffer is that modulo [`RECEIVE`].
    next: u64,
    /// Buffers that were given back and of which the card may not know.
    untold: u64,
    /// Frames sent, and those of which it is known that they are.
    sent: u64,
    done: u64,
}

impl Card {
    /// Takes card number `number` into `share`, maps its buffers in `space`, and gives the card those for frames to come.
    ///
    /// # Errors
    ///
    /// As `device_alloc`, `segment_alloc` and `at_set_slot`.
    pub fn open(space: &mut Space, share: Id, number: u64) -> Result<Self, Error> {
        Self::open_by(space, share, number, |_| Ok(Trap))
    }
}

impl<W: Way> Card<W> {
    /// As [`Card::open`]; buffers go to the device by the way that `way` opens.
    ///
    /// # Errors
    ///
    /// As [`Card::open`]; what `way` says.
    pub fn open_by(
        space: &mut Space,
        share: Id,
        number: u64,
        way: impl FnOnce(ObjRef) -> Result<W, Error>,
    ) -> Result<Self, Error> {
        let name = Name::new("network card");
        let object = sys().device_alloc(share, number, Home::Any, address(&name))?;
        let device = ObjRef { share, object };
        let opened = way(device).and_then(|way| Self::with(space, share, device, way));
        if opened.is_err() {
            // It was just named there.
            let _ = sys().share_delobj(device);
        }
        opened
    }

    fn with(space: &mut Space, share: Id, device: ObjRef, way: W) -> Result<Self, Error> {
        let mut stat = NetworkStat::default();
        sys().device_stat(device, address_mut(&mut stat))?;
        let pages = RECEIVE + TRANSMIT;
        let packets = segment(share, pages * PAGE_BYTES, "packets")?;
        let mapped = space.map(packets, pages, MapFlags::WRITE);
        let (base, slot) = mapped.inspect_err(|_| _ = sys().share_delobj(packets))?;
        let [a, b, c, d, e, f, ..] = stat.address;
        let mut card = Self {
            way,
            device,
            packets,
            base,
            slot,
            address: [a, b, c, d, e, f],
            next: 0,
            untold: 0,
            sent: 0,
            done: 0,
        };
        for buffer in 0..RECEIVE {
            card.give(buffer)?;
        }
        card.poll()?;
        Ok(card)
    }

    /// Its MAC address.
    #[must_use]
    pub fn address(&self) -> [u8; 6] {
        self.address
    }

    /// What the kernel knows of it.
    ///
    /// # Errors
    ///
    /// As `device_stat`.
    pub fn stat(&self) -> Result<NetworkStat, Error> {
        let mut stat = NetworkStat::default();
        sys().device_stat(self.device, address_mut(&mut stat))?;
        Ok(stat)
    }

    /// The packet buffers, and the device.
    #[must_use]
    pub fn objects(&self) -> (ObjRef, ObjRef) {
        (self.packets, self.device)
    }

    fn header(&self, buffer: u64) -> [&AtomicU32; 4] {
        let at = self.base + buffer * PAGE_BYTES + HEADER;
        [0, 4, 8, 12].map(|offset| {
            // SAFETY: inside the mapping; the kernel writes it, too, word by word.
            unsafe { AtomicU32::from_ptr((at + offset) as *mut u32) }
        })
    }

    fn frame(&self, buffer: u64) -> *mut u8 {
        (self.base + buffer * PAGE_BYTES + FRAME) as *mut u8
    }

    /// Posts a buffer.
    fn post(&mut self, buffer: u64, operation: u64, length: u32) -> Result<(), Error> {
        let [ready, bytes, done, _] = self.header(buffer);
        bytes.store(length, Ordering::Relaxed);
        done.store(0, Ordering::Relaxed);
        ready.store(1, Ordering::Release);
        let offset = buffer * PAGE_BYTES + HEADER;
        let (device, segment) = (self.device, self.packets);
        let posted = self.way.post(Feed { device, operation, segment, offset });
        if posted.is_err() {
            let [ready, ..] = self.header(buffer);
            ready.store(0, Ordering::Relaxed);
        }
        posted
    }

    /// Gives a buffer back to the card for a frame to come.
    fn give(&mut self, buffer: u64) -> Result<(), Error> {
        self.untold += 1;
        let more = if self.untold < BATCH { buffer_op::MORE } else { 0 };
        if more == 0 {
            self.untold = 0;
        }
        self.post(buffer, buffer_op::IN | more, 0)
    }

    /// Asks the kernel what came and what was sent, and tells the card of what was posted.
    ///
    /// # Errors
    ///
    /// As `device_buf`.
    pub fn poll(&mut self) -> Result<(), Error> {
        self.untold = 0;
        let base = self.base;
        self.way.poll(self.device, &mut |offset, error| {
            // Refused after all: it comes back as one that failed.
            let header = (base + offset) as *mut u32;
            // SAFETY: a header that was posted, inside the mapping; the kernel did not take it.
            let [ready, failed] =
                [0, 3].map(|word| unsafe { AtomicU32::from_ptr(header.wrapping_add(word)) });
            failed.store(error as u32, Ordering::Relaxed);
            ready.store(0, Ordering::Release);
        })
    }

    /// The next frame that came, if one did: `look` sees it, then its buffer goes back to the card.
    ///
    /// # Errors
    ///
    /// As `device_buf`.
    pub fn receive<R>(&mut self, look: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, Error> {
        loop {
            let buffer = self.next % RECEIVE;
            let [ready, length, _, error] = self.header(buffer);
            if ready.load(Ordering::Acquire) != 0 {
                return Ok(None);
            }
            let length = (length.load(Ordering::Relaxed) as usize).min((PAGE_BYTES - FRAME) as usize);
            let good = error.load(Ordering::Relaxed) == 0;
            self.next += 1;
            if good {
                // SAFETY: the buffer is this program's until it is given back.
                let found = look(unsafe { core::slice::from_raw_parts(self.frame(buffer), length) });
                self.give(buffer)?;
                return Ok(Some(found));
            }
            self.give(buffer)?;
        }
    }

    /// Whether a frame can be sent now.
    pub fn can_send(&mut self) -> bool {
        while self.done < self.sent {
            let [ready, ..] = self.header(RECEIVE + self.done % TRANSMIT);
            if ready.load(Ordering::Acquire) != 0 {
                break;
            }
            self.done += 1;
        }
        self.sent - self.done < TRANSMIT
    }

    /// Sends the frame that `fill` writes; it says how long that is. The card is told with the next [`Card::poll`].
    ///
    /// # Errors
    ///
    /// [`Error::Full`] when all buffers are on their way; as `device_buf`.
    pub fn send(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) -> Result<(), Error> {
        if !self.can_send() {
            return Err(Error::Full);
        }
        let buffer = RECEIVE + self.sent % TRANSMIT;
        // SAFETY: the buffer is this program's: what was in it was sent.
        let room = unsafe { core::slice::from_raw_parts_mut(self.frame(buffer), FRAME_BYTES as usize) };
        let length = fill(room).min(FRAME_BYTES as usize);
        self.post(buffer, buffer_op::OUT | buffer_op::MORE, length as u32)?;
        self.sent += 1;
        Ok(())
    }

    /// Gives everything back but the way.
    ///
    /// # Errors
    ///
    /// As `share_delobj` and `at_set_slot`.
    pub fn close(self, space: &mut Space) -> Result<W, Error> {
        sys().share_delobj(self.device)?;
        space.unmap(self.slot)?;
        sys().share_delobj(self.packets)?;
        Ok(self.way)
    }
}
