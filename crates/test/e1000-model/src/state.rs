//! The card itself: registers, link, reset, and what holds it together.

use std::collections::{BTreeMap, VecDeque};

use crate::eeprom::Eeprom;
use crate::fault::Fault;
use crate::filter::Filter;
use crate::memory::PhysicalMemory;
use crate::registers::{
    CTRL, EERD, ICR, ICS, IMC, IMS, MTA, RA, RCTL, RECEIVE_RING, STATISTICS, STATUS, STORED, TCTL, TIPG,
    TRANSMIT_RING, ctrl, icr, rctl, tctl,
};
use crate::ring::Ring;
use crate::statistics::Statistics;

/// Microseconds after a reset begins in which no register may be touched (§13.4.1).
const QUIET: u64 = 1;
/// Microseconds until the reset is done.
const RESET: u64 = 50;
/// Microseconds from a reset until the EEPROM is loaded.
const LOAD: u64 = 2000;
/// Microseconds from the end of receiving and sending until a reset may begin: what is on the bus ends.
const DRAIN: u64 = 1000;
/// What the first receive address holds if it was not loaded: something, but not valid.
const NOT_LOADED: [u32; 2] = [0x0202_0202, 0x0202];

/// What a cable's other end negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// 10 Mb/s, half duplex.
    Ten,
    /// 100 Mb/s, full duplex.
    Hundred,
    /// 1 Gb/s, full duplex.
    Gigabit,
}

/// What became of a frame that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It is in the card, and goes to memory when a descriptor is there.
    Accepted,
    /// It was for somebody else.
    Filtered,
    /// The card's memory was full.
    Missed,
    /// It was shorter than 60 bytes, or longer than the card accepts.
    Length,
    /// The receiver was off, or the link down.
    Deaf,
}

pub(crate) struct State {
    pub(crate) memory: Box<dyn PhysicalMemory>,
    pub(crate) fault: Option<Fault>,
    /// Microseconds.
    now: u64,
    reset_at: Option<u64>,
    load_at: Option<u64>,
    /// When the receiver or the transmitter was turned off.
    stopped_at: Option<u64>,
    control: u32,
    pub(crate) receive_control: u32,
    pub(crate) transmit_control: u32,
    /// Whether frames move, which a fault may keep true.
    pub(crate) receiving: bool,
    pub(crate) transmitting: bool,
    gaps: u32,
    causes: u32,
    mask: u32,
    stored: BTreeMap<u32, u32>,
    eeprom: Eeprom,
    pub(crate) filter: Filter,
    pub(crate) receive_ring: Ring,
    pub(crate) transmit_ring: Ring,
    pub(crate) statistics: Statistics,
    cable: Option<Speed>,
    link_was_up: bool,
    /// Accepted frames that are not in memory yet.
    pub(crate) fifo: VecDeque<Vec<u8>>,
    pub(crate) fifo_bytes: usize,
    /// What was read of a frame whose last descriptor has not come.
    pub(crate) half_sent: Vec<u8>,
    /// Frames on the wire.
    pub(crate) sent: VecDeque<Vec<u8>>,
}

impl State {
    /// A card as power-on leaves it, with a cable.
    pub(crate) fn new(memory: Box<dyn PhysicalMemory>, address: [u8; 6]) -> Self {
        let mut filter = Filter::new();
        let eeprom = Eeprom::new(address);
        filter.pairs[0] = eeprom.pair();
        Self {
            memory,
            fault: None,
            now: 0,
            reset_at: None,
            load_at: None,
            stopped_at: None,
            control: 0,
            receive_control: 0,
            transmit_control: 0,
            receiving: false,
            transmitting: false,
            gaps: 0,
            causes: 0,
            mask: 0,
            stored: BTreeMap::new(),
            eeprom,
            filter,
            receive_ring: Ring::new("receive ring"),
            transmit_ring: Ring::new("transmit ring"),
            statistics: Statistics::new(),
            cable: Some(Speed::Gigabit),
            link_was_up: false,
            fifo: VecDeque::new(),
            fifo_bytes: 0,
            half_sent: Vec::new(),
            sent: VecDeque::new(),
        }
    }

    pub(crate) fn elapse(&mut self, microseconds: u32) {
        self.now += u64::from(microseconds);
        if self.reset_at.is_some_and(|at| self.now >= at + RESET) {
            self.reset_at = None;
        }
        if self.load_at.is_some_and(|at| self.now >= at) {
            self.load_at = None;
            self.filter.pairs[0] = self.eeprom.pair();
        }
    }

    pub(crate) fn heal(&mut self) {
        self.fault = None;
        self.control &= !ctrl::RST;
        self.receiving = self.receive_control & rctl::EN != 0;
        self.transmitting = self.transmit_control & tctl::EN != 0;
    }

    pub(crate) fn set_cable(&mut self, cable: Option<Speed>) {
        self.cable = cable;
        self.link_changed();
    }

    pub(crate) fn link_up(&self) -> bool {
        self.cable.is_some() && self.control & ctrl::SLU != 0
    }

    /// Whether the card pulls its interrupt line.
    pub(crate) fn interrupts(&self) -> bool {
        self.fault != Some(Fault::Gone) && self.causes & self.mask != 0
    }

    pub(crate) fn raise(&mut self, causes: u32) {
        self.causes |= causes;
    }

    fn link_changed(&mut self) {
        let up = self.link_up();
        if up != self.link_was_up {
            self.link_was_up = up;
            self.raise(icr::LSC);
        }
    }

    fn status(&self) -> u32 {
        let (speed, full) = match self.cable {
            Some(Speed::Ten) => (0, 0),
            Some(Speed::Hundred) => (1, 1),
            Some(Speed::Gigabit) | None => (2, 1),
        };
        full | u32::from(self.link_up()) << 1 | speed << 6
    }

    /// Reads a register.
    pub(crate) fn read(&mut self, offset: u32) -> u32 {
        if self.fault == Some(Fault::Gone) {
            return u32::MAX;
        }
        self.check_time(offset);
        match offset {
            CTRL => self.control | if self.reset_at.is_some() { ctrl::RST } else { 0 },
            STATUS => self.status(),
            EERD if self.fault == Some(Fault::NoEeprom) => 0,
            EERD => self.eeprom.read(self.now),
            ICR => std::mem::take(&mut self.causes),
            IMS => self.mask,
            RCTL => self.receive_control,
            TCTL => self.transmit_control,
            TIPG => self.gaps,
            _ if STATISTICS.contains(&offset) => self.statistics.read(offset - STATISTICS.start),
            _ if MTA.contains(&offset) => self.filter.table[((offset - MTA.start) / 4) as usize],
            _ if RA.contains(&offset) => self.filter.pairs[pair(offset)][half(offset)],
            _ if STORED.contains(&offset) => self.stored.get(&offset).copied().unwrap_or(0),
            _ => {
                let receive = offset.checked_sub(RECEIVE_RING).and_then(|at| self.receive_ring.read(at));
                let transmit =
                    || offset.checked_sub(TRANSMIT_RING).and_then(|at| self.transmit_ring.read(at));
                receive.or_else(transmit).unwrap_or_else(|| panic!("no register {offset:#x} to read"))
            }
        }
    }

    /// Writes a register.
    pub(crate) fn write(&mut self, offset: u32, value: u32) {
        if self.fault == Some(Fault::Gone) {
            return;
        }
        self.check_time(offset);
        match offset {
            CTRL => self.write_control(value),
            EERD => self.eeprom.write(value, self.now),
            ICS => self.raise(value & icr::ALL),
            IMS => self.mask |= value & icr::ALL,
            IMC => self.mask &= !value,
            RCTL => self.write_receive_control(value),
            TCTL => self.write_transmit_control(value),
            TIPG => self.gaps = value,
            _ if MTA.contains(&offset) => self.filter.table[((offset - MTA.start) / 4) as usize] = value,
            _ if RA.contains(&offset) => self.filter.pairs[pair(offset)][half(offset)] = value,
            _ if STORED.contains(&offset) => _ = self.stored.insert(offset, value),
            _ => {
                let (receiving, transmitting) = self.enabled();
                let memory = self.memory.as_ref();
                let known = match (offset.checked_sub(RECEIVE_RING), offset.checked_sub(TRANSMIT_RING)) {
                    (_, Some(at)) => self.transmit_ring.write(at, value, transmitting, memory),
                    (Some(at), None) => self.receive_ring.write(at, value, receiving, memory),
                    (None, None) => false,
                };
                assert!(known, "no register {offset:#x} to write");
            }
        }
    }

    /// Whether the driver has the receiver and the transmitter on.
    fn enabled(&self) -> (bool, bool) {
        (self.receive_control & rctl::EN != 0, self.transmit_control & tctl::EN != 0)
    }

    fn check_time(&self, offset: u32) {
        let loads = self.load_at.is_some() && (offset == EERD || RA.contains(&offset));
        assert!(!loads, "register {offset:#x} is touched while the card reads its EEPROM");
        let quiet = self.reset_at.is_some_and(|at| self.now < at + QUIET);
        assert!(!quiet, "register {offset:#x} is touched within a microsecond of a reset");
    }

    fn write_control(&mut self, value: u32) {
        assert!(value & ctrl::VME == 0, "VLAN mode is not modelled");
        if value & ctrl::RST == 0 {
            self.control = value;
            self.link_changed();
        } else if self.fault == Some(Fault::StuckReset) {
            self.control = value;
        } else {
            assert_eq!(self.enabled(), (false, false), "a reset while the card receives or sends");
            assert!(
                self.stopped_at.is_none_or(|at| self.now >= at + DRAIN),
                "a reset too soon after frames moved"
            );
            assert_eq!(self.mask, 0, "a reset with interrupts on");
            if self.fault != Some(Fault::NoReset) {
                self.reset();
            }
        }
    }

    /// Everything but statistics, filters other than the first receive address, and what is on the wire.
    fn reset(&mut self) {
        self.reset_at = Some(self.now);
        self.control = 0;
        (self.receive_control, self.transmit_control) = (0, 0);
        (self.receiving, self.transmitting) = (false, false);
        (self.causes, self.mask, self.gaps) = (0, 0, 0);
        self.stored.clear();
        self.receive_ring = Ring::new("receive ring");
        self.transmit_ring = Ring::new("transmit ring");
        self.fifo.clear();
        self.fifo_bytes = 0;
        self.half_sent.clear();
        self.filter.pairs[0] = NOT_LOADED;
        let loads = !matches!(self.fault, Some(Fault::NoEeprom | Fault::NotLoaded));
        self.load_at = loads.then_some(self.now + LOAD);
        self.stopped_at = None;
        self.link_was_up = false;
    }

    fn write_receive_control(&mut self, value: u32) {
        let enabled = value & rctl::EN != 0;
        if enabled {
            assert!(value & rctl::SECRC != 0, "CRCs in memory are not modelled");
            assert!(value & (rctl::VFE | rctl::LOOPBACK) == 0, "VLAN filters and loopback are not modelled");
            assert!(
                value & rctl::BSEX == 0 || value >> rctl::BUFFER_SHIFT & 3 != 0,
                "RCTL: reserved buffer size"
            );
            if self.receive_control & rctl::EN == 0 {
                self.receive_ring.enable(self.memory.as_ref());
            }
        }
        if !enabled && self.receive_control & rctl::EN != 0 {
            self.stopped_at = Some(self.now);
        }
        self.receive_control = value;
        self.receiving = enabled || self.receiving && self.keeps_running();
    }

    fn write_transmit_control(&mut self, value: u32) {
        let enabled = value & tctl::EN != 0;
        if enabled {
            assert!(self.gaps != 0, "the transmitter is enabled without gaps between frames (TIPG)");
            if self.transmit_control & tctl::EN == 0 {
                self.transmit_ring.enable(self.memory.as_ref());
            }
        }
        if !enabled && self.transmit_control & tctl::EN != 0 {
            self.stopped_at = Some(self.now);
        }
        self.transmit_control = value;
        self.transmitting = enabled || self.transmitting && self.keeps_running();
    }

    fn keeps_running(&self) -> bool {
        matches!(self.fault, Some(Fault::KeepsRunning | Fault::StuckReset))
    }
}

fn pair(offset: u32) -> usize {
    ((offset - RA.start) / 8) as usize
}

fn half(offset: u32) -> usize {
    (offset / 4 % 2) as usize
}
