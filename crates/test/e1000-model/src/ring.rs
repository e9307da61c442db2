//! A descriptor ring: whose is what (§3.2.6, §3.4).

use std::collections::VecDeque;

use crate::memory::PhysicalMemory;
use crate::registers::ring::{HEAD, HIGH, LENGTH, LOW, TAIL};

/// Bytes of a descriptor.
const DESCRIPTOR: u64 = 16;

/// A descriptor: address, and the rest.
pub(crate) type Descriptor = [u64; 2];

/// One ring's registers, and what the driver has handed over.
pub(crate) struct Ring {
    name: &'static str,
    base: u64,
    length: u32,
    head: u32,
    tail: u32,
    /// Descriptors from head to tail as they were when the tail passed them.
    owned: VecDeque<Descriptor>,
}

impl Ring {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, base: 0, length: 0, head: 0, tail: 0, owned: VecDeque::new() }
    }

    /// Reads the register at `offset` in the ring's block.
    pub(crate) fn read(&self, offset: u32) -> Option<u32> {
        Some(match offset {
            LOW => self.base as u32,
            HIGH => (self.base >> 32) as u32,
            LENGTH => self.length,
            HEAD => self.head,
            TAIL => self.tail,
            _ => return None,
        })
    }

    /// Writes the register at `offset`; whether there is one.
    pub(crate) fn write(
        &mut self,
        offset: u32,
        value: u32,
        enabled: bool,
        memory: &dyn PhysicalMemory,
    ) -> bool {
        let name = self.name;
        if matches!(offset, LOW | HIGH | LENGTH | HEAD) {
            assert!(!enabled, "{name}: register +{offset:#x} written while it is enabled");
        }
        match offset {
            LOW => {
                assert!(value.is_multiple_of(16), "{name}: base {value:#x} is not aligned to 16 bytes");
                self.base = self.base >> 32 << 32 | u64::from(value);
            }
            HIGH => self.base = self.base & 0xffff_ffff | u64::from(value) << 32,
            LENGTH => {
                assert!(value.is_multiple_of(128) && value < 1 << 20, "{name}: length {value:#x}");
                self.length = value;
            }
            HEAD => {
                assert!(value == 0, "{name}: only 0 may be written to the head");
                self.head = 0;
            }
            TAIL if enabled => self.hand_over(value, memory),
            TAIL => {
                let within = value < self.count() || value == 0;
                assert!(within, "{name}: tail {value} of {} descriptors", self.count());
                self.tail = value;
            }
            _ => return false,
        }
        true
    }

    /// The card may use the ring from now on; descriptors from head to tail are its.
    pub(crate) fn enable(&mut self, memory: &dyn PhysicalMemory) {
        let (name, tail, count) = (self.name, self.tail, self.count());
        assert!(count > 0, "{name}: enabled without a ring");
        assert!(self.head < count && tail < count, "{name}: enabled with head or tail beyond");
        self.owned.clear();
        self.tail = self.head;
        self.hand_over(tail, memory);
    }

    fn count(&self) -> u32 {
        self.length / DESCRIPTOR as u32
    }

    /// The tail moves: descriptors up to it are the card's.
    fn hand_over(&mut self, tail: u32, memory: &dyn PhysicalMemory) {
        let (name, count) = (self.name, self.count());
        assert!(tail < count, "{name}: tail {tail} of {count} descriptors");
        let added = (tail + count - self.tail) % count;
        assert!(
            self.owned.len() as u32 + added < count,
            "{name}: the tail goes from {} to {tail}, past the head {}",
            self.tail,
            self.head
        );
        for _ in 0..added {
            let descriptor = self.look(self.tail, memory);
            assert!(
                descriptor[1] >> 32 & 1 == 0,
                "{name}: descriptor {} is handed over with DD set",
                self.tail
            );
            self.owned.push_back(descriptor);
            self.tail = (self.tail + 1) % count;
        }
    }

    fn look(&self, index: u32, memory: &dyn PhysicalMemory) -> Descriptor {
        let mut bytes = [0; DESCRIPTOR as usize];
        memory.read(self.base + DESCRIPTOR * u64::from(index), &mut bytes);
        let (halves, _) = bytes.as_chunks::<8>();
        [u64::from_le_bytes(halves[0]), u64::from_le_bytes(halves[1])]
    }

    /// The next descriptor that the card works on.
    pub(crate) fn next(&self) -> Option<Descriptor> {
        self.owned.front().copied()
    }

    /// Whether nothing is left for the card.
    pub(crate) fn is_empty(&self) -> bool {
        self.owned.is_empty()
    }

    /// Descriptors that are the card's.
    pub(crate) fn owned(&self) -> usize {
        self.owned.len()
    }

    /// Every descriptor of the card's is as it was handed over.
    pub(crate) fn audit(&self, memory: &dyn PhysicalMemory) {
        for (at, handed) in (0..).zip(&self.owned) {
            let index = (self.head + at) % self.count();
            let found = self.look(index, memory);
            assert_eq!(found, *handed, "{}: descriptor {index} changed while it was the card's", self.name);
        }
    }

    /// Gives the descriptor at the head back, with `word` as its second word if it is written.
    pub(crate) fn give_back(&mut self, word: Option<u64>, memory: &dyn PhysicalMemory) {
        let handed = self.owned.pop_front().expect("the card has one");
        let found = self.look(self.head, memory);
        assert_eq!(found, handed, "{}: descriptor {} changed while it was the card's", self.name, self.head);
        if let Some(word) = word {
            memory.write(self.base + DESCRIPTOR * u64::from(self.head) + 8, &word.to_le_bytes());
        }
        self.head = (self.head + 1) % self.count();
    }
}
