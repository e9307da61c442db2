//! Network cards: buffers of segments posted to a card, and given back.
//!
//! ```text
//! poster   pin the page ─ lock: does the segment live? ─ the card has it ─ unlock
//! poller   lock: done ─ done, error │ ready 0 (or a word of the page of results) ─ unpin ─ unlock
//! ender    no reference any more ─ lock: is a buffer of it posted? ─ stop the card, all come back ─ unlock ─ the page is freed
//! ```
//!
//! A pinned page stays where it is: it is not cut off, and a copy of it is made at once. A poster that comes after the ender
//! finds the segment without references; one that came before is found by the ender. A page of results is pinned and found in the
//! same way, and written under the lock only.

use corey_abi::{BufferHeader, Error, FRAME_BYTES, FRAME_ROOM, NetworkStat, PAGE_BYTES, Plain, card_result};
use corey_kernel_hal::{Direction, Done, Filter, NetworkCard, PAGE_SIZE, Platform};
use corey_kernel_mem::DataFrame;
use corey_kernel_object::{Ctx, Entered, Handle, Link};
use corey_kernel_percore::Local;
use corey_kernel_segment::Segment;
use corey_lib_sync::{Quarantine, Relax, Shared};

const HEADER: u64 = BufferHeader::BYTES as u64;
/// Least bytes of a frame: its header (IEEE 802.3).
const FRAME_HEADER: u64 = 14;
/// Words of a page of results.
const RESULTS: usize = PAGE_BYTES as usize / 8;
/// Buffers of a card at most: those of both directions.
pub(crate) const POSTED: usize = 512;
/// Frames that one call takes from the card at most, so that others wait a bounded time.
const BUDGET: usize = 64;

/// What ends the sleep of a kernel core that has a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Armed {
    /// An interrupt line.
    ByLine(u8),
    /// Nothing that the card does: it is to be looked at again.
    ByTimer,
    /// Nothing, and there is nothing to wait for.
    Never,
}

/// A buffer that a card has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Posted {
    segment: Link,
    /// Byte offset of its header.
    offset: u64,
    frame: DataFrame,
    direction: Direction,
    /// What `ready` becomes, if that is not 0.
    mark: Option<u32>,
}

/// The page where results of marked buffers go. It is pinned; who ends its segment has the card forget it first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Results {
    segment: Link,
    /// Its number in the segment.
    page: u64,
    frame: DataFrame,
}

impl Results {
    fn let_go<P: Platform>(&self, platform: &P, inside: &Entered<'_>) {
        if let Some(segment) = self.segment.resolve::<Segment>(inside) {
            segment.unpin(platform, self.page);
        }
    }
}

impl Posted {
    /// Bytes to send, or 0; whether they, or a frame to come, have room in the page.
    fn check_length(&self, length: u64) -> Result<u16, Error> {
        let room = PAGE_BYTES.saturating_sub(self.offset % PAGE_BYTES + HEADER);
        let (least, length, most) = match self.direction {
            Direction::Receive => (FRAME_ROOM, room, room),
            Direction::Transmit => (FRAME_HEADER, length, room.min(FRAME_BYTES)),
        };
        if length < least || length > most {
            return Err(Error::OutOfRange);
        }
        Ok(if self.direction == Direction::Transmit { length as u16 } else { 0 })
    }

    /// Tells the program, and lets the page go.
    fn give_back<P: Platform>(
        &self,
        (platform, inside): (&P, &Entered<'_>),
        results: Option<&Results>,
        length: u16,
        error: Option<Error>,
    ) {
        let error = error.map_or(0, |error| error as u16);
        match (results, self.mark) {
            (Some(results), Some(mark)) => {
                let index = (self.offset / PAGE_BYTES) as usize % RESULTS;
                results.frame.store_word(platform, index, card_result::of(mark, length, error));
            }
            (_, mark) => {
                let ready = u64::from(mark.unwrap_or(0));
                let words = [u64::from(length) << 32 | ready, 1 | u64::from(error) << 32];
                // The page is pinned: nobody has taken it since it was posted.
                self.frame.write_status(platform, self.offset % PAGE_BYTES, words);
            }
        }
        if let Some(segment) = self.segment.resolve::<Segment>(inside) {
            segment.unpin(platform, self.offset / PAGE_BYTES);
        }
    }
}

/// A card, and what it has.
struct Card {
    driver: &'static mut dyn NetworkCard,
    /// By cookie.
    posted: &'static mut [Option<Posted>],
    /// Cookies that are free.
    free: heapless::Vec<u16, POSTED>,
    /// Where results go that do not go into headers.
    results: Option<Results>,
    received: u64,
    sent: u64,
    failed: u64,
    /// It has an owner; whoever found its device before that ended comes too late.
    owned: bool,
    /// It does not answer, or a core was lost that was at it: what the card has stays pinned.
    lost: bool,
    /// A kernel core sleeps until it interrupts: so it shall after a reset, too.
    armed: bool,
    /// Ticks of the time-stamp counter per microsecond.
    ticks: u64,
}

impl Quarantine for Card {
    fn quarantine(&mut self) {
        // What the driver knows may be half changed: the card goes on, and its pages stay pinned for good.
        self.lost = true;
    }
}

/// Waits so many ticks of the time-stamp counter, serving messages: no handler takes a lock.
fn wait<P: Platform>(local: &mut Local<P>, ticks: u64) {
    let until = local.platform.tsc().saturating_add(ticks);
    while local.platform.tsc() < until {
        local.relax();
    }
}

impl Card {
    /// Stops the card; everything comes back. False when it does not answer: it is lost.
    fn stop<P: Platform>(&mut self, local: &mut Local<P>, inside: &Entered<'_>) -> bool {
        if self.lost {
            return false;
        }
        let (platform, ticks) = (&local.platform.clone(), self.ticks);
        if !self.driver.stop(&mut |microseconds| wait(local, u64::from(microseconds) * ticks)) {
            log::error!("a network card does not answer: the pages that it has are not used again");
            self.lost = true;
            return false;
        }
        for (cookie, posted) in self.posted.iter_mut().enumerate() {
            if let Some(posted) = posted.take() {
                posted.give_back((platform, inside), self.results.as_ref(), 0, Some(Error::DeviceFailed));
                // As many as there are.
                let _ = self.free.push(cookie as u16);
            }
        }
        true
    }

    /// How many came back.
    fn poll<P: Platform>(&mut self, platform: &P, inside: &Entered<'_>) -> u32 {
        let mut back = 0;
        let Self { driver, posted, free, results, received, sent, failed, .. } = self;
        driver.poll(BUDGET, &mut |done: Done| {
            // A card that says the same twice is not believed.
            let Some(found) = posted.get_mut(usize::from(done.cookie)).and_then(Option::take) else { return };
            let _ = free.push(done.cookie);
            back += 1;
            let (count, length) = match found.direction {
                Direction::Receive => (&mut *received, u64::from(done.length).min(FRAME_ROOM) as u16),
                Direction::Transmit => (&mut *sent, done.length),
            };
            if done.failed {
                *failed += 1;
            } else {
                *count += 1;
            }
            let error = done.failed.then_some(Error::DeviceFailed);
            found.give_back((platform, inside), results.as_ref(), length, error);
        });
        back
    }

    fn count(&self, direction: Direction) -> u64 {
        self.posted.iter().flatten().filter(|posted| posted.direction == direction).count() as u64
    }
}

/// A network card of the machine.
#[derive(Debug)]
pub(crate) struct Network {
    /// Its position among the cards.
    number: u32,
    /// Lock order 6 (`card`): what a network card has. Nothing is taken under it.
    card: Shared<Card>,
}

impl Network {
    /// `posted` has [`POSTED`] elements.
    pub(crate) fn new(
        number: u32,
        driver: &'static mut dyn NetworkCard,
        posted: &'static mut [Option<Posted>],
        ticks: u64,
    ) -> Self {
        let mut free = heapless::Vec::new();
        // As many as fit; the first is taken first.
        (0..POSTED as u16).rev().for_each(|cookie| _ = free.push(cookie));
        let card = Card {
            owned: false,
            driver,
            posted,
            free,
            results: None,
            received: 0,
            sent: 0,
            failed: 0,
            lost: false,
            armed: false,
            ticks,
        };
        Self { number, card: Shared::new(0, "card", card) }
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Starts the card for a new owner.
    pub(crate) fn start<P: Platform>(&self, local: &mut Local<P>) -> Result<(), Error> {
        let mut card = self.card.lock(local);
        (card.received, card.sent, card.failed) = (0, 0, 0);
        card.armed = false;
        card.driver.listen(Filter::Own);
        card.start(local)?;
        card.owned = true;
        Ok(())
    }

    /// Stops the card: it writes no memory, and everything comes back.
    pub(crate) fn stop<P: Platform>(&self, ctx: &mut Ctx<P>, inside: &Entered<'_>) {
        let platform = ctx.local.platform.clone();
        let mut card = self.card.lock(&mut ctx.local);
        // One that does not answer is lost, and says so to the next who wants it.
        let _ = card.stop(&mut ctx.local, inside);
        card.owned = false;
        if let Some(results) = card.results.take() {
            results.let_go(&platform, inside);
        }
    }

    /// As [`Network::stop`], and starts it again.
    pub(crate) fn reset<P: Platform>(&self, ctx: &mut Ctx<P>, inside: &Entered<'_>) -> Result<(), Error> {
        let mut card = self.card.lock(&mut ctx.local);
        let _ = card.stop(&mut ctx.local, inside);
        card.start(&mut ctx.local)
    }

    /// A segment without references gives up its pages: if the card has any, it is reset. False when it may still write them.
    pub(crate) fn forget<P: Platform>(&self, ctx: &mut Ctx<P>, inside: &Entered<'_>, segment: Link) -> bool {
        let mut card = self.card.lock(&mut ctx.local);
        if !card.posted.iter().flatten().any(|posted| posted.segment == segment) {
            card.results.take_if(|results| results.segment == segment);
            return true;
        }
        let stopped = card.stop(&mut ctx.local, inside);
        card.results.take_if(|results| results.segment == segment);
        // One that does not come up again answers nothing; its owner finds out.
        let _ = card.start(&mut ctx.local);
        stopped
    }

    /// Takes from the card what it is done with; says how many buffers that were.
    pub(crate) fn poll<P: Platform>(&self, ctx: &mut Ctx<P>, inside: &Entered<'_>) -> Result<u32, Error> {
        let platform = ctx.local.platform.clone();
        let mut card = self.card.lock(&mut ctx.local);
        if card.lost {
            return Err(Error::DeviceFailed);
        }
        card.driver.ring();
        Ok(card.poll(&platform, inside))
    }

    /// Lets the card interrupt, if its line is known.
    pub(crate) fn arm<R: Relax>(&self, waiter: &mut R) -> Armed {
        let mut card = self.card.lock(waiter);
        if card.lost {
            return Armed::Never;
        }
        let Some(line) = card.driver.line() else { return Armed::ByTimer };
        // Of what was posted, too, the card shall say when it is done.
        card.driver.ring();
        card.driver.arm();
        card.armed = true;
        Armed::ByLine(line)
    }

    /// The card interrupts no more.
    pub(crate) fn disarm<R: Relax>(&self, waiter: &mut R) {
        let mut card = self.card.lock(waiter);
        if core::mem::take(&mut card.armed) && !card.lost {
            card.driver.disarm();
        }
    }

    /// Gives the card the buffer at `offset` of `segment`, whose length and mark stand in its header, or are given. It is told at
    /// once if it is the `last` of several.
    pub(crate) fn post<P: Platform>(
        &self,
        ctx: &mut Ctx<P>,
        inside: &Entered<'_>,
        (segment, offset): (Handle<'_, Segment>, u64),
        (direction, marked): (Direction, Option<(u16, u32)>),
        last: bool,
    ) -> Result<(), Error> {
        let page = offset / PAGE_BYTES;
        let frame = Segment::pin(segment, ctx, inside, page)?;
        let platform = ctx.local.platform.clone();
        let (length, mark) = marked.unzip();
        let posted = Posted { segment: segment.link(), offset, frame, direction, mark };
        let length = length.map_or_else(|| read_length(&platform, &posted), |length| Ok(length.into()));
        let result = length.and_then(|length| posted.check_length(length)).and_then(|length| {
            segment.set_posted(self.number);
            let mut card = self.card.lock(&mut ctx.local);
            card.give(&platform, inside, posted, length, segment.header().refs() != 0, last)
        });
        if result.is_err() {
            segment.unpin(&platform, page);
        }
        result
    }

    /// Chooses which frames the card accepts, and the page of a segment where results go, until it has another owner.
    pub(crate) fn configure<P: Platform>(
        &self,
        ctx: &mut Ctx<P>,
        inside: &Entered<'_>,
        filter: Filter,
        results: Option<(Handle<'_, Segment>, u64)>,
    ) -> Result<(), Error> {
        let platform = ctx.local.platform.clone();
        let new = match results {
            None => None,
            Some((segment, page)) => {
                let frame = Segment::pin(segment, ctx, inside, page)?;
                segment.set_posted(self.number);
                Some(Results { segment: segment.link(), page, frame })
            }
        };
        let mut card = self.card.lock(&mut ctx.local);
        // Who ends the segment after this looks here; who ended it before is seen.
        let lives = card.owned && results.is_none_or(|(segment, _)| segment.header().refs() != 0);
        let old = if lives {
            card.driver.listen(filter);
            core::mem::replace(&mut card.results, new)
        } else {
            new
        };
        drop(card);
        if let Some(old) = old {
            old.let_go(&platform, inside);
        }
        if lives { Ok(()) } else { Err(Error::NotFound) }
    }

    /// What is known of the card.
    pub(crate) fn stat<R: Relax>(&self, waiter: &mut R) -> NetworkStat {
        let mut card = self.card.lock(waiter);
        let mut address = [0; 8];
        address.iter_mut().zip(card.driver.address()).for_each(|(to, from)| *to = from);
        let (vendor, device) = card.driver.model();
        let counts = card.driver.counts();
        NetworkStat {
            address,
            speed: card.driver.speed().into(),
            model: u64::from(vendor) | u64::from(device) << 32,
            posted: [card.count(Direction::Receive), card.count(Direction::Transmit)],
            room: [Direction::Receive, Direction::Transmit].map(|way| card.driver.room(way).into()),
            received: card.received,
            sent: card.sent,
            missed: counts.missed,
            errors: counts.errors + card.failed,
            doorbells: counts.doorbells,
        }
    }
}

impl Card {
    fn start<P: Platform>(&mut self, local: &mut Local<P>) -> Result<(), Error> {
        let ticks = self.ticks;
        let started =
            !self.lost && self.driver.start(&mut |microseconds| wait(local, u64::from(microseconds) * ticks));
        if started && self.armed {
            self.driver.arm();
        }
        if started { Ok(()) } else { Err(Error::DeviceFailed) }
    }

    fn give<P: Platform>(
        &mut self,
        platform: &P,
        inside: &Entered<'_>,
        posted: Posted,
        length: u16,
        lives: bool,
        last: bool,
    ) -> Result<(), Error> {
        if self.lost {
            return Err(Error::DeviceFailed);
        }
        if !lives {
            return Err(Error::NotFound);
        }
        let address = u64::from(posted.frame.frame().0) * PAGE_SIZE + posted.offset % PAGE_BYTES + HEADER;
        let try_once = |card: &mut Self| {
            let cookie = *card.free.last()?;
            if !card.driver.post(posted.direction, address, length, cookie) {
                return None;
            }
            card.free.pop();
            *card.posted.get_mut(usize::from(cookie))? = Some(posted);
            Some(())
        };
        // When it is full: what it is done with makes room.
        let given = try_once(self).or_else(|| {
            self.poll(platform, inside);
            try_once(self)
        });
        if last {
            self.driver.ring();
        }
        given.ok_or(Error::Full)
    }
}

/// Reads the header of a buffer that is to be posted, once: bytes to send.
fn read_length<P: Platform>(platform: &P, posted: &Posted) -> Result<u64, Error> {
    let at = posted.offset % PAGE_BYTES;
    let mut bytes = [0; BufferHeader::BYTES];
    if posted.frame.read(platform, at as usize, &mut bytes) != bytes.len() {
        return Err(Error::OutOfRange);
    }
    let header = BufferHeader::from_bytes(&bytes).ok_or(Error::BadArgument)?;
    if header.ready != 1 {
        return Err(Error::Busy);
    }
    Ok(header.length.into())
}
