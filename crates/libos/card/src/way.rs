//! How buffers go to a card: by trap, or over a ring to the kernel core that polls it.

use corey_abi::{DeviceCalls, Error, ObjRef, buffer_op, number};
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

/// How buffers go to a card.
pub trait Way {
    /// Posts a buffer.
    ///
    /// # Errors
    ///
    /// As `device_buf`, or [`Error::Full`]; by ring others come to [`Way::poll`].
    fn post(&mut self, feed: Feed) -> Result<(), Error>;

    /// Has the card told of what was posted, and what it is done with come back. Buffers that were refused after they had
    /// been posted go to `refused`: where their headers are, and why.
    ///
    /// # Errors
    ///
    /// As `device_buf`; as the ring's end.
    fn poll(&mut self, device: ObjRef, refused: &mut dyn FnMut(u64, Error)) -> Result<(), Error>;
}

impl Way for Trap {
    #[inline(always)]
    fn post(&mut self, feed: Feed) -> Result<(), Error> {
        sys().device_buf(feed.device, feed.operation, feed.segment, feed.offset)
    }

    #[inline(always)]
    fn poll(&mut self, device: ObjRef, _: &mut dyn FnMut(u64, Error)) -> Result<(), Error> {
        sys().device_buf(device, buffer_op::POLL, ObjRef::default(), 0)
    }
}

/// Most calls in flight.
const SLOTS: usize = 256;

/// By ring, and on without waiting: the kernel core that serves it polls the card, too.
#[derive(Debug)]
pub struct ByRing {
    calls: Calls,
    /// Where the header is of the call with this ticket, modulo [`SLOTS`].
    offsets: [u32; SLOTS],
    /// Refused while a place in the ring was made.
    refused: heapless::Vec<(u32, Error), SLOTS>,
    /// Why the ring ended.
    ended: Option<Error>,
}

impl ByRing {
    /// Over these calls, whose ring has at most 256 slots.
    #[must_use]
    pub fn new(calls: Calls) -> Self {
        Self { calls, offsets: [0; SLOTS], refused: heapless::Vec::new(), ended: None }
    }

    /// The ring.
    #[must_use]
    pub fn into_calls(self) -> Calls {
        self.calls
    }

    /// Takes the answers that are there.
    #[inline(always)]
    fn answers(&mut self) {
        while let Some((ticket, result)) = self.calls.poll() {
            if let Err(error) = result {
                self.note(ticket.0, error);
            }
        }
    }

    #[cold]
    fn note(&mut self, ticket: u64, error: Error) {
        if let Some(offset) = self.offsets.get(ticket as usize % SLOTS) {
            // No more are in flight.
            let _ = self.refused.push((*offset, error));
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
        if let Some(place) = self.offsets.get_mut(ticket.0 as usize % SLOTS) {
            *place = offset as u32;
        }
        Ok(())
    }

    #[inline(always)]
    fn poll(&mut self, _: ObjRef, refused: &mut dyn FnMut(u64, Error)) -> Result<(), Error> {
        self.calls.flush();
        self.answers();
        while let Some((offset, error)) = self.refused.pop() {
            refused(offset.into(), error);
        }
        self.ended.map_or(Ok(()), Err)
    }
}
