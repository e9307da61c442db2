//! The card starts (§14), and stops.

use corey_kernel_hal::{Dma, Mmio};

use crate::address::MacAddress;
use crate::driver::E1000;
use crate::registers::{
    CTRL, CTRL_FORCED, CTRL_RST, CTRL_SLU, EERD, EERD_ADDRESS_SHIFT, EERD_DATA_SHIFT, EERD_DONE, EERD_START,
    ICR, IMC, MTA, MTA_WORDS, RA_PAIRS, RAH, RAH_AV, RAL, RCTL, STATUS, TCTL, TCTL_COLD, TCTL_CT, TCTL_EN,
    TCTL_PSP, TIPG, TIPG_COPPER,
};
use crate::status::Gone;

/// Why a card did not start. It has no buffer, and takes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// Buffers are posted that have not come back.
    Outstanding,
    /// A ring's memory has another length than the ring, or is not aligned to 16 bytes.
    Ring,
    /// The card does not answer.
    Gone,
    /// The card did not come out of reset.
    Reset,
    /// Neither the card nor its EEPROM knows an address that a station can have.
    Address,
}

/// Why nobody knows whether a card still reads and writes memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuiesceError {
    /// It does not answer: it was removed, or its registers cannot be reached.
    Gone,
    /// It did not come out of reset.
    Reset,
}

impl From<Gone> for StartError {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl From<Gone> for QuiesceError {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl From<QuiesceError> for StartError {
    fn from(error: QuiesceError) -> Self {
        match error {
            QuiesceError::Gone => Self::Gone,
            QuiesceError::Reset => Self::Reset,
        }
    }
}

/// Turns of a millisecond that what the card has begun on the bus gets to end before the reset.
const DRAIN_TURNS: u32 = 10;
/// Microseconds without a register access after the reset began (§13.4.1 asks for one).
const RESET_WAIT: u32 = 10;
/// Turns of a millisecond for the reset to end.
const RESET_TURNS: u32 = 20;
/// Turns of a millisecond in which the card reads its EEPROM after a reset.
const LOAD_TURNS: u32 = 5;
/// Turns of 50 microseconds for a word of the EEPROM.
const EEPROM_TURNS: u32 = 200;
/// Microseconds of a turn: one that looks at nothing else for longer would keep others waiting.
const TURN: u32 = 1000;

impl<M: Mmio, D: Dma, const N: usize> E1000<M, D, N> {
    /// Resets the card and starts it with empty rings, interrupts off. `wait` returns after at least so many
    /// microseconds, 1000 at most; some 15 ms pass. The link comes up later: [`E1000::link`].
    ///
    /// # Errors
    ///
    /// As [`StartError`] says. It may be tried again.
    pub fn start(&mut self, wait: &mut dyn FnMut(u32)) -> Result<(), StartError> {
        if self.receive.ring.outstanding() + self.transmit.ring.outstanding() > 0 {
            return Err(StartError::Outstanding);
        }
        if !(self.receive.ring.fits() && self.transmit.ring.fits()) {
            return Err(StartError::Ring);
        }
        self.halt(wait)?;
        turns(LOAD_TURNS, wait);
        let address = self.find_address(wait)?;
        self.address = Some(address);
        self.set_address(address);

        self.mmio.write(TIPG, TIPG_COPPER);
        self.receive.begin(&self.mmio);
        self.transmit.begin(&self.mmio);
        self.clear_counters();
        // Of before, if the reset left them (QEMU's leaves all registers as they are).
        self.mmio.read(ICR);
        // The PHY negotiates, and the MAC follows it.
        self.mmio.write(CTRL, self.mmio.read(CTRL) & !CTRL_FORCED | CTRL_SLU);
        self.mmio.write(TCTL, TCTL_EN | TCTL_PSP | TCTL_CT | TCTL_COLD);
        self.listen();
        // Also: every write above has arrived.
        if self.read(STATUS).is_err() {
            self.close();
            return Err(StartError::Gone);
        }
        Ok(())
    }

    /// Stops the card, and calls `each` with the cookie of every buffer that has not come back: receive buffers, then transmit
    /// buffers, each in the order in which they were posted. What was not sent yet is lost. `wait` as in
    /// [`E1000::start`]; some 10 ms pass.
    ///
    /// # Errors
    ///
    /// The card may still read and write memory, and no cookie has come back. Whoever then takes its right to use
    /// the bus away (PCI command register, bus master bit) may [`E1000::give_back`].
    pub fn quiesce(
        &mut self,
        wait: &mut dyn FnMut(u32),
        each: &mut dyn FnMut(u64),
    ) -> Result<(), QuiesceError> {
        // The reset forgets them. A card that is gone is found by what follows.
        let _ = self.statistics();
        self.halt(wait)?;
        self.give_back(each);
        Ok(())
    }

    /// Calls `each` with every cookie that has not come back, as [`E1000::quiesce`] does. The caller knows that the card
    /// can use the bus no more.
    pub fn give_back(&mut self, each: &mut dyn FnMut(u64)) {
        self.close();
        self.receive.ring.drain(each);
        self.transmit.drain(each);
    }

    /// Nothing can be posted until the next start.
    fn close(&mut self) {
        self.receive.ring.close();
        self.transmit.ring.close();
    }

    /// Stops everything that the card does, by reset. Afterwards it begins nothing on the bus until it is told to.
    fn halt(&mut self, wait: &mut dyn FnMut(u32)) -> Result<(), QuiesceError> {
        self.close();
        self.read(STATUS)?;
        self.mmio.write(IMC, u32::MAX);
        self.mmio.write(RCTL, 0);
        self.mmio.write(TCTL, 0);
        // A read, so that the card has seen it all before time is counted. A frame that is on its way ends; a reset in
        // the midst of a bus transaction would leave the bus to a device that is not there.
        self.read(STATUS)?;
        turns(DRAIN_TURNS, wait);
        let control = self.read(CTRL)?;
        self.mmio.write(CTRL, control | CTRL_RST);
        wait(RESET_WAIT);
        for _ in 0..RESET_TURNS {
            if self.read(CTRL)? & CTRL_RST == 0 {
                return Ok(());
            }
            wait(TURN);
        }
        Err(QuiesceError::Reset)
    }

    /// The address that the card loaded at reset, or else the one in its EEPROM (§5.6.1: words 0 to 2).
    fn find_address(&self, wait: &mut dyn FnMut(u32)) -> Result<MacAddress, StartError> {
        let (low, high) = (self.mmio.read(RAL), self.mmio.read(RAH));
        let loaded = MacAddress::from_registers(low, high);
        if high & RAH_AV != 0 && loaded.is_station() {
            return Ok(loaded);
        }
        let mut words = [[0; 2]; 3];
        for (at, word) in (0..).zip(&mut words) {
            *word = self.eeprom(at, wait)?.to_le_bytes();
        }
        let [[a, b], [c, d], [e, f]] = words;
        let kept = MacAddress([a, b, c, d, e, f]);
        if kept.is_station() { Ok(kept) } else { Err(StartError::Address) }
    }

    /// Word `at` of the EEPROM.
    fn eeprom(&self, at: u32, wait: &mut dyn FnMut(u32)) -> Result<u16, StartError> {
        self.mmio.write(EERD, EERD_START | at << EERD_ADDRESS_SHIFT);
        for _ in 0..EEPROM_TURNS {
            let value = self.read(EERD)?;
            if value & EERD_DONE != 0 {
                return Ok((value >> EERD_DATA_SHIFT) as u16);
            }
            wait(50);
        }
        Err(StartError::Address)
    }

    /// The card listens to `address`, and to no other one and no group.
    fn set_address(&self, address: MacAddress) {
        let (low, high) = address.to_registers();
        self.mmio.write(RAL, low);
        self.mmio.write(RAH, high | RAH_AV);
        for pair in 1..RA_PAIRS {
            self.mmio.write(RAH + 8 * pair, 0);
        }
        for word in 0..MTA_WORDS {
            self.mmio.write(MTA + 4 * word, 0);
        }
    }
}

fn turns(count: u32, wait: &mut dyn FnMut(u32)) {
    for _ in 0..count {
        wait(TURN);
    }
}
