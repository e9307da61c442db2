//! Network cards, as the kernel's device object sees them.

/// Which way a buffer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The card fills it with a frame.
    Receive,
    /// The card sends the frame in it.
    Transmit,
}

/// Frames that a card accepts. Broadcasts always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Those to its own address.
    Own,
    /// Those to its own address and to any group.
    Groups,
    /// All.
    Promiscuous,
}

/// A buffer that a card is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// What it was posted with.
    pub cookie: u16,
    /// Bytes of the frame.
    pub length: u16,
    /// Whether the card could not do it.
    pub failed: bool,
}

/// What a card counted since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CardCounts {
    /// Frames that it dropped, as no buffer was posted.
    pub missed: u64,
    /// Frames that came with errors.
    pub errors: u64,
    /// Times it was told of new buffers.
    pub doorbells: u64,
}

/// A network card, and its driver's state. Addresses are physical, of RAM; whoever posts a buffer leaves it alone until it
/// comes back by [`NetworkCard::poll`], or the card was stopped.
pub trait NetworkCard: Send {
    /// PCI vendor and device.
    fn model(&self) -> (u16, u16);

    /// MAC address.
    fn address(&self) -> [u8; 6];

    /// Megabits per second; 0 while there is no link. Reads a register.
    fn speed(&self) -> u16;

    /// Buffers of a direction that can be posted now.
    fn room(&self, direction: Direction) -> u16;

    /// Makes a stopped card ready: it receives as soon as buffers are posted. `wait` returns after so many microseconds, 1000
    /// at most. False when it does not answer, or not as it should.
    fn start(&mut self, wait: &mut dyn FnMut(u32)) -> bool;

    /// Resets the card: it writes no memory any more, and what was posted is its caller's again. Some milliseconds, in turns of `wait`.
    /// False when it does not answer: nobody knows what it still writes.
    fn stop(&mut self, wait: &mut dyn FnMut(u32)) -> bool;

    /// Gives the card a buffer: 2,048 bytes to fill, or `length` bytes to send. It need not know before
    /// [`NetworkCard::ring`]. False when there is no room.
    fn post(&mut self, direction: Direction, address: u64, length: u16, cookie: u16) -> bool;

    /// Tells the card of what was posted since: a register each way at most.
    fn ring(&mut self);

    /// Gives to `each` what the card is done with, in order of each direction, `most` at most.
    fn poll(&mut self, most: usize, each: &mut dyn FnMut(Done));

    /// Chooses which frames it accepts, now and after the next start. At first: [`Filter::Own`].
    fn listen(&mut self, filter: Filter);

    /// Which of the machine's interrupt lines it pulls ([`crate::Machine::open_line`]). `None`: nobody knows.
    fn line(&self) -> Option<u8>;

    /// Lets a started card pull its line when it is done with something from now on. What was done before need not count: poll after
    /// it. A read and a write of registers.
    fn arm(&mut self);

    /// Ends [`NetworkCard::arm`]; a card that was stopped is not armed either. A write of a register.
    fn disarm(&mut self);

    /// Its counts. Reads registers.
    fn counts(&mut self) -> CardCounts;
}
