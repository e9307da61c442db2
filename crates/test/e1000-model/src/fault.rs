//! What can be wrong with a card.

/// A card that is broken in one way. It stays so until [`crate::Card::heal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not answer, hears nothing, and does nothing on the bus.
    Gone,
    /// A reset does not end, nor does it stop anything: rings and memory are used as before.
    StuckReset,
    /// A reset ends, but changes nothing: QEMU's `e1000` is such a card.
    NoReset,
    /// The receiver and the transmitter go on when they are turned off, until a reset.
    KeepsRunning,
    /// It has no receive address after a reset, and no word of the EEPROM is ever read.
    NoEeprom,
    /// It does not load its receive address after a reset; the EEPROM can be read.
    NotLoaded,
    /// It receives and sends, but never says so: no descriptor is written back.
    Silent,
    /// The second word of each descriptor that is written back is this one.
    Garbage(u64),
    /// Each receive descriptor reports this length.
    Length(u16),
    /// Each receive descriptor reports these errors (§3.2.3.2).
    Errors(u8),
    /// No receive descriptor ends a frame.
    NoEnd,
}
