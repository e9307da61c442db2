//! The driver: post, ring, poll.

use corey_kernel_hal::{Dma, Filter, Mmio};

use crate::address::MacAddress;
use crate::receive::{Damage, Receive};
use crate::registers::{
    ICR, ICR_LSC, ICS, IMC, IMS, RCTL, RCTL_BAM, RCTL_EN, RCTL_SECRC, RECEIVE, STATUS, TRANSMIT,
};
use crate::statistics::Statistics;
use crate::status::{Cause, Gone, Interrupts, Link, WANTED, filter_bits};
use crate::transmit::Transmit;

/// A buffer was not posted; it remains the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The ring is full, or the card is stopped.
    Full,
    /// The buffer would leave its page, or its address is 0.
    Address,
    /// No frame has this length.
    Length,
}

/// A buffer that the card is done with. The cookie is the one that it was posted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// A receive buffer.
    Received {
        /// Which.
        cookie: u64,
        /// Bytes of the frame that lies at the buffer's address, from 1 to 1518, without its CRC; or why there is none.
        frame: Result<u16, Damage>,
    },
    /// A transmit buffer: the card has read it, and nobody looks at it any more. Whether the frame reached anybody
    /// is not known; collisions are counted.
    Sent {
        /// Which.
        cookie: u64,
    },
}

/// A controller, with rings of `N` descriptors each: a power of two from 8 to 4096. 256 descriptors fill a page.
///
/// A value is some 5 KiB with 256 descriptors, cookies included; it is best made where it stays.
///
/// ```
/// use corey_drivers_e1000::{Completion, E1000};
/// use corey_test_e1000_model::{Card, Memory};
///
/// let memory = Memory::new(16 * 4096);
/// let card = Card::new(memory.clone());
/// let mut nic = E1000::<_, _>::new(card.clone(), memory.ring(0x1000, 512), memory.ring(0x2000, 512));
/// nic.start(&mut |microseconds| card.elapse(microseconds)).unwrap();
///
/// nic.post_receive(0x3040, 7).unwrap();
/// nic.ring_doorbells();
/// card.deliver(&[0xff; 60]);
/// card.settle();
/// nic.poll(32, |done| assert_eq!(done, Completion::Received { cookie: 7, frame: Ok(60) }));
/// ```
pub struct E1000<M, D, const N: usize = 256> {
    pub(crate) mmio: M,
    pub(crate) receive: Receive<D, N>,
    pub(crate) transmit: Transmit<D, N>,
    pub(crate) statistics: Statistics,
    pub(crate) address: Option<MacAddress>,
    filter: Filter,
}

impl<M: Mmio, D: Dma, const N: usize> E1000<M, D, N> {
    /// A driver for the card at `mmio`, which it does not touch yet. Each ring is `2 * N` words, aligned to 16 bytes.
    pub const fn new(mmio: M, receive: D, transmit: D) -> Self {
        Self {
            mmio,
            receive: Receive::new(receive),
            transmit: Transmit::new(transmit),
            statistics: Statistics::NONE,
            address: None,
            filter: Filter::Own,
        }
    }

    /// The card's address; `None` before the first start.
    #[must_use]
    pub fn mac(&self) -> Option<MacAddress> {
        self.address
    }

    /// Receive buffers that can be posted now.
    #[must_use]
    pub fn receive_room(&self) -> usize {
        self.receive.ring.room()
    }

    /// Transmit buffers that can be posted now.
    #[must_use]
    pub fn transmit_room(&self) -> usize {
        self.transmit.ring.room()
    }

    /// Posts an empty buffer of [`crate::BUFFER_BYTES`] at bus address `address`. The card learns of it with
    /// [`E1000::ring_doorbells`]; from here on it is pinned until its cookie comes back.
    ///
    /// # Errors
    ///
    /// [`Refused::Address`] or [`Refused::Full`].
    ///
    /// # Cost
    ///
    /// One descriptor (two stores), no register.
    #[inline]
    pub fn post_receive(&mut self, address: u64, cookie: u64) -> Result<(), Refused> {
        self.receive.post(address, cookie)
    }

    /// Posts a frame of `length` bytes ([`crate::SHORTEST_BYTES`] to [`crate::FRAME_BYTES`]) at bus address `address`, in
    /// one page. The card pads it to 60 bytes and appends the CRC.
    ///
    /// # Errors
    ///
    /// [`Refused::Length`], [`Refused::Address`] or [`Refused::Full`].
    ///
    /// # Cost
    ///
    /// As [`E1000::post_receive`].
    #[inline]
    pub fn post_transmit(&mut self, address: u64, length: u16, cookie: u64) -> Result<(), Refused> {
        self.transmit.post(address, length, cookie)
    }

    /// Tells the card of everything that was posted; how many registers that took.
    ///
    /// # Cost
    ///
    /// One register write for each ring that something was posted to.
    #[inline]
    pub fn ring_doorbells(&mut self) -> u64 {
        self.transmit.close_batch();
        let sends = self.transmit.ring.publish(&self.mmio, TRANSMIT);
        let receives = self.receive.ring.publish(&self.mmio, RECEIVE);
        u64::from(sends) + u64::from(receives)
    }

    /// Calls `each` with what the card is done with: at most `budget` receive buffers, then at most `budget` transmit
    /// buffers, each in the order in which they were posted. Returns how many there were.
    ///
    /// # Cost
    ///
    /// No register. One load of a descriptor for each receive buffer, one for each batch of transmit buffers, and one more for
    /// each ring that has not yet got further.
    #[inline]
    pub fn poll(&mut self, budget: usize, mut each: impl FnMut(Completion)) -> usize {
        self.receive.poll(budget, &mut each) + self.transmit.poll(budget, &mut each)
    }

    /// Lets the card interrupt, or not. While it is stopped it never does.
    ///
    /// A cause that is pending when interrupts go on interrupts at once. So, to sleep and lose nothing: [`E1000::interrupt_cause`],
    /// this, [`E1000::poll`], and sleep if that found nothing.
    ///
    /// # Cost
    ///
    /// One register write.
    pub fn set_interrupts(&mut self, interrupts: Interrupts) {
        match interrupts {
            Interrupts::On if self.running() => self.mmio.write(IMS, WANTED),
            Interrupts::On => {}
            Interrupts::Off => self.mmio.write(IMC, u32::MAX),
        }
    }

    /// What happened since the last call; the card's interrupt line falls.
    ///
    /// # Errors
    ///
    /// The card is gone.
    ///
    /// # Cost
    ///
    /// One register read.
    pub fn interrupt_cause(&mut self) -> Result<Cause, Gone> {
        self.read(ICR).map(Cause::from_icr)
    }

    /// Has the card pull its interrupt line, so that somebody sees where it ends; until
    /// [`E1000::let_go`]. For a card that is stopped.
    ///
    /// # Cost
    ///
    /// Two register writes.
    pub fn pull_line(&mut self) {
        self.mmio.write(IMS, ICR_LSC);
        self.mmio.write(ICS, ICR_LSC);
    }

    /// Ends [`E1000::pull_line`].
    ///
    /// # Cost
    ///
    /// A register write and a read.
    pub fn let_go(&mut self) {
        self.mmio.write(IMC, u32::MAX);
        // Clears the cause. One that is gone pulls nothing.
        self.mmio.read(ICR);
    }

    /// The state of the link.
    ///
    /// # Errors
    ///
    /// The card is gone.
    ///
    /// # Cost
    ///
    /// One register read.
    pub fn link(&self) -> Result<Link, Gone> {
        self.read(STATUS).map(Link::from_status)
    }

    /// Chooses which frames the card accepts, now and after the next start. At first: [`Filter::Own`].
    ///
    /// # Cost
    ///
    /// One register write.
    pub fn set_filter(&mut self, filter: Filter) {
        self.filter = filter;
        if self.running() {
            self.listen();
        }
    }

    /// Turns the receiver on.
    pub(crate) fn listen(&self) {
        self.mmio.write(RCTL, RCTL_EN | RCTL_BAM | RCTL_SECRC | filter_bits(self.filter));
    }

    /// Whether the card was started, and has not been stopped since.
    pub(crate) fn running(&self) -> bool {
        self.receive.ring.is_open()
    }

    /// Reads a register of which some bit is always 0.
    pub(crate) fn read(&self, offset: u32) -> Result<u32, Gone> {
        match self.mmio.read(offset) {
            u32::MAX => Err(Gone),
            value => Ok(value),
        }
    }
}
