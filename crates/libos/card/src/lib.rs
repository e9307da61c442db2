//! A network card of the kernel's, frame by frame.
//!
//! **Paper.** §3.5: a device is fed with buffers of a segment. One page has one buffer, as in the 2008 release.
//!
//! **Invariants.** A word for each buffer, in a page of results, says whose it is: the kernel writes the mark of the call that posted
//! it, of each round another one, when it comes back. Nothing in a buffer that is the card's is read or written.
//!
//! **Sharing.** None by trap: a card is one core's, and its pages are written by that core's kernel. By ring the page of results is the
//! kernel core's, too: a line of it goes over with the results of up to eight frames that came, written there and read here; this
//! side writes none. Of frames that were sent the result of one in 16 is looked at: they come back in order.
//! Several cores can use one card in a `Shared` (`shared.rs`): then its lines are all those cores'.
//!
//! **Testing.** Whose a buffer is: random orders, with refusals, against what a card does. `images/test-net`, in the machine.
#![cfg_attr(not(test), no_std)]
#![allow(unsafe_code, reason = "packet buffers are mapped memory, by address")]

mod shared;
mod turns;
mod way;

use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{
    CardConfig, DeviceCalls, DeviceEntry, Error, FRAME_BYTES, Home, Id, MapFlags, Name, NetworkStat, ObjRef,
    PAGE_BYTES, ShareCalls, buffer_op, card_result, device_kind,
};
use corey_libos_net::{EthernetAddress, Full, Link};
use corey_libos_sys::{Trap, address, address_mut, segment, sys};
use corey_libos_vm::Space;
use turns::{Place, RECEIVE, TRANSMIT, Turns};
pub use way::{ByRing, Feed, REFUSED, Refused, Way};

/// Where a buffer's header would be: its frame begins a line.
const HEADER: u64 = 48;
/// Where its frame is.
const FRAME: u64 = 64;

/// Buffers, each a page.
const BUFFERS: u64 = RECEIVE + TRANSMIT;
/// And the page of results behind them, which has a word for each.
const PAGES: u64 = BUFFERS + 1;
const _: () = assert!(BUFFERS <= PAGE_BYTES / 8);

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

/// Where the kernel says what became of a buffer.
#[derive(Clone, Copy, Debug)]
struct Outcome<'a>(&'a AtomicU64);

impl Outcome<'_> {
    /// The [`card_result`], if the buffer came back from the round with this mark.
    #[inline(always)]
    fn is_back(self, mark: u64) -> Option<u64> {
        let word = self.0.load(Ordering::Acquire);
        (card_result::mark(word) == mark).then_some(word)
    }

    /// What the kernel would write, of a buffer that it did not take.
    #[cold]
    fn refuse(self, mark: u64, error: Error) {
        self.0.store(card_result::of(mark as u32, 0, error as u16), Ordering::Release);
    }
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
    /// Buffers that were given back and of which the card may not know.
    untold: u64,
    turns: Turns,
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
        let packets = segment(share, PAGES * PAGE_BYTES, "packets")?;
        let mapped = Self::mapped(space, device, packets);
        let (base, slot) = mapped.inspect_err(|_| _ = sys().share_delobj(packets))?;
        let [a, b, c, d, e, f, ..] = stat.address;
        let mut card = Self {
            way,
            device,
            packets,
            base,
            slot,
            address: [a, b, c, d, e, f],
            untold: 0,
            turns: Turns::default(),
        };
        for frame in 0..RECEIVE {
            card.give(Place::to_come(frame))?;
        }
        card.poll()?;
        Ok(card)
    }

    /// Maps the packets, and has the card write its results behind them.
    fn mapped(space: &mut Space, device: ObjRef, packets: ObjRef) -> Result<(u64, u64), Error> {
        let (base, slot) = space.map(packets, PAGES, MapFlags::WRITE)?;
        let config = CardConfig { results: packets, offset: BUFFERS * PAGE_BYTES, ..CardConfig::default() };
        sys().device_conf(device, address(&config)).inspect_err(|_| _ = space.unmap(slot))?;
        Ok((base, slot))
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

    fn outcome(&self, buffer: u64) -> Outcome<'_> {
        let at = self.base + BUFFERS * PAGE_BYTES + buffer * 8;
        // SAFETY: in the mapping's last page, which has a word for each buffer, 8-byte aligned; the kernel stores it as a word, too.
        Outcome(unsafe { AtomicU64::from_ptr(at as *mut u64) })
    }

    fn frame(&self, buffer: u64) -> *mut u8 {
        (self.base + buffer * PAGE_BYTES + FRAME) as *mut u8
    }

    /// Posts a buffer.
    #[inline(always)]
    fn post(&mut self, Place { buffer, mark }: Place, operation: u64, length: u16) -> Result<(), Error> {
        let operation = operation | buffer_op::marked(length, mark);
        let (device, segment) = (self.device, self.packets);
        self.way.post(Feed { device, operation, segment, offset: buffer * PAGE_BYTES + HEADER })
    }

    /// Gives the card a buffer for a frame to come.
    fn give(&mut self, place: Place) -> Result<(), Error> {
        self.untold += 1;
        let more = if self.untold < BATCH { buffer_op::MORE } else { 0 };
        if more == 0 {
            self.untold = 0;
        }
        self.post(place, buffer_op::IN | more, 0).inspect_err(|error| {
            // It has its turn all the same, and is given again then.
            self.outcome(place.buffer).refuse(place.mark, *error);
        })
    }

    /// Asks the kernel what came and what was sent, and tells the card of what was posted.
    ///
    /// # Errors
    ///
    /// As `device_buf`.
    pub fn poll(&mut self) -> Result<(), Error> {
        self.untold = 0;
        let mut refused = Refused::new();
        let polled = self.way.poll(self.device, &mut refused);
        for (offset, error) in refused {
            // It comes back as one that failed.
            let Place { buffer, mark } = self.turns.refuse(offset / PAGE_BYTES);
            self.outcome(buffer).refuse(mark, error);
        }
        polled
    }

    /// The next frame that came, if one did: `look` sees it, then its buffer goes back to the card.
    ///
    /// # Errors
    ///
    /// As `device_buf`.
    pub fn receive<R>(&mut self, look: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, Error> {
        loop {
            let Place { buffer, mark } = self.turns.next();
            let Some(result) = self.outcome(buffer).is_back(mark) else { return Ok(None) };
            let length = usize::from(card_result::length(result)).min((PAGE_BYTES - FRAME) as usize);
            let again = self.turns.take();
            if card_result::error(result) == 0 {
                // SAFETY: the buffer is this program's until it is given back.
                let found = look(unsafe { core::slice::from_raw_parts(self.frame(buffer), length) });
                self.give(again)?;
                return Ok(Some(found));
            }
            self.give(again)?;
        }
    }

    /// Where a frame can be written now, if there is a buffer.
    #[inline(always)]
    fn free(&mut self) -> Option<Place> {
        let mut turns = self.turns;
        let place = turns.free(|Place { buffer, mark }| self.outcome(buffer).is_back(mark).is_some());
        self.turns = turns;
        place
    }

    /// Sends the frame that `fill` writes; it says how long that is. The card is told with the next [`Card::poll`].
    ///
    /// # Errors
    ///
    /// [`Error::Full`] when all buffers are on their way; as `device_buf`.
    pub fn send(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) -> Result<(), Error> {
        let place = self.free().ok_or(Error::Full)?;
        // SAFETY: the buffer is this program's: what was in it was sent.
        let room = unsafe { core::slice::from_raw_parts_mut(self.frame(place.buffer), FRAME_BYTES as usize) };
        let length = fill(room).min(FRAME_BYTES as usize);
        self.post(place, buffer_op::OUT | buffer_op::MORE, length as u16)?;
        self.turns.send();
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
