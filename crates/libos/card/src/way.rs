//! How buffers go to a card: by trap, or over a ring to the kernel core that polls it.

use corey_abi::{DeviceCalls, Error, ObjRef, PAGE_BYTES, buffer_op, number};
use corey_libos_kernel_core::Calls;
use corey_libos_sys::{Trap, sys};

/// A buffer for a card: the words of `device_buf`.
#[derive(Clone, Copy, Debug)]
pub struct Feed {
    /// The card.
    pub device: ObjRef,
    /// A [`buffer_op`].
    pub operation: u64,
    /// The packet buffers.
    pub segment: ObjRef,
    /// Where its header is.
    pub offset: u64,
}

/// Refused buffers that one poll gives at most; the answers behind them wait for the next.
pub const REFUSED: usize = 8;

/// Refused buffers: where their headers are, and why.
pub type Refused = heapless::Vec<(u64, Error), REFUSED>;

/// How buffers go to a card.
pub trait Way {
    /// Posts a buffer.
    ///
    /// # Errors
    ///
    /// As `device_buf`, or [`Error::Full`]; by ring others come to [`Way::poll`].
    fn post(&mut self, feed: Feed) -> Result<(), Error>;

    /// Has the card told of what was posted, and what it is done with come back. Buffers that were refused after they had
    /// been posted go to `refused`, which has room.
    ///
    /// # Errors
    ///
    /// As `device_buf`; as the ring's end.
    fn poll(&mut self, device: ObjRef, refused: &mut Refused) -> Result<(), Error>;
}

impl Way for Trap {
    #[inline(always)]
    fn post(&mut self, feed: Feed) -> Result<(), Error> {
        sys().device_buf(feed.device, feed.operation, feed.segment, feed.offset)
    }

    #[inline(always)]
    fn poll(&mut self, device: ObjRef, _: &mut Refused) -> Result<(), Error> {
        sys().device_buf(device, buffer_op::POLL, ObjRef::default(), 0)
    }
}

/// Most calls in flight.
const SLOTS: usize = 256;
/// By ring, and on without waiting: the kernel core that serves it polls the card, too.
#[derive(Debug)]
pub struct ByRing {
    calls: Calls,
    /// The page of the call with this ticket, modulo [`SLOTS`]. Small, as stacks are.
    pages: [u16; SLOTS],
    /// Where in their pages all headers are.
    within: u64,
    /// Refused since the last poll.
    refused: Refused,
    /// Why the ring ended.
    ended: Option<Error>,
}

impl ByRing {
    /// Over these calls, whose ring has at most 256 slots.
    #[must_use]
    pub fn new(calls: Calls) -> Self {
        Self { calls, pages: [0; SLOTS], within: 0, refused: heapless::Vec::new(), ended: None }
    }

    /// The ring.
    #[must_use]
    pub fn into_calls(self) -> Calls {
        self.calls
    }

    /// Takes the answers that are there, as long as there is room for refused ones.
    #[inline(always)]
    fn answers(&mut self) {
        while !self.refused.is_full()
            && let Some((ticket, result)) = self.calls.poll()
        {
            if let Err(error) = result {
                self.note(ticket.0, error);
            }
        }
    }

    #[cold]
    fn note(&mut self, ticket: u64, error: Error) {
        if let Some(page) = self.pages.get(ticket as usize % SLOTS) {
            // There was room before this answer was taken.
            let _ = self.refused.push((u64::from(*page) * PAGE_BYTES + self.within, error));
        }
    }
}

impl Way for ByRing {
    #[inline(always)]
    fn post(&mut self, feed: Feed) -> Result<(), Error> {
        let Feed { device, operation, segment, offset } = feed;
        // The kernel core tells the card at its next turn.
        let operation = operation | buffer_op::MORE;
        let args = [device.share.0, device.object.0, operation, segment.share.0, segment.object.0, offset];
        let ticket = self.calls.submit::<6>(number::device_buf, args).or_else(|_| {
            self.answers();
            self.calls.submit::<6>(number::device_buf, args)
        });
        let ticket = ticket.map_err(Error::from).inspect_err(|error| {
            self.ended = Some(*error).filter(|error| *error != Error::Full);
        })?;
        if let Some(place) = self.pages.get_mut(ticket.0 as usize % SLOTS) {
            *place = (offset / PAGE_BYTES) as u16;
        }
        self.within = offset % PAGE_BYTES;
        Ok(())
    }

    #[inline(always)]
    fn poll(&mut self, _: ObjRef, refused: &mut Refused) -> Result<(), Error> {
        self.calls.flush();
        self.answers();
        if !self.refused.is_empty() {
            *refused = core::mem::take(&mut self.refused);
        }
        self.ended.map_or(Ok(()), Err)
    }
}
