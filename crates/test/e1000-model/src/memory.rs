//! Physical memory: what the card reads and writes by itself.

use corey_kernel_hal::Dma;
use std::sync::{Arc, Mutex, MutexGuard};

/// Memory by bus address. An address that is not memory is a failure of the test: the card was told to go there.
pub trait PhysicalMemory: Send {
    /// Reads `bytes.len()` bytes from `address` on.
    fn read(&self, address: u64, bytes: &mut [u8]);

    /// Writes `bytes` from `address` on.
    fn write(&self, address: u64, bytes: &[u8]);
}

/// Memory from address 0 on. A clone is the same memory.
#[derive(Clone)]
pub struct Memory(Arc<Mutex<Contents>>);

struct Contents {
    bytes: Vec<u8>,
    /// Writes by the card.
    writes: u64,
}

impl Memory {
    /// `bytes` of memory, all 0xa5: nothing in it is zero by chance.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(Contents { bytes: vec![0xa5; bytes], writes: 0 })))
    }

    /// Memory of a ring at `address`, for a driver: `words` words of 64 bits.
    #[must_use]
    pub fn ring(&self, address: u64, words: usize) -> Ring {
        Ring { memory: self.clone(), address, words }
    }

    /// The `length` bytes at `address`, read by the processor.
    #[must_use]
    pub fn bytes(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.read(address, &mut bytes);
        bytes
    }

    /// Writes `bytes` from `address` on, by the processor.
    pub fn fill(&self, address: u64, bytes: &[u8]) {
        let mut contents = self.contents();
        place(&mut contents.bytes, address, bytes.len()).copy_from_slice(bytes);
    }

    /// How often the card has written.
    #[must_use]
    pub fn card_writes(&self) -> u64 {
        self.contents().writes
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().expect("no test goes on after it has failed")
    }
}

impl PhysicalMemory for Memory {
    fn read(&self, address: u64, bytes: &mut [u8]) {
        let mut contents = self.contents();
        bytes.copy_from_slice(place(&mut contents.bytes, address, bytes.len()));
    }

    fn write(&self, address: u64, bytes: &[u8]) {
        let mut contents = self.contents();
        contents.writes += 1;
        place(&mut contents.bytes, address, bytes.len()).copy_from_slice(bytes);
    }
}

fn place(memory: &mut [u8], address: u64, length: usize) -> &mut [u8] {
    let end = memory.len();
    let start = usize::try_from(address).expect("an address of this memory");
    memory
        .get_mut(start..start + length)
        .unwrap_or_else(|| panic!("bytes {address:#x} to +{length} are not in memory, which has {end:#x}"))
}

/// A ring as its driver reaches it.
#[derive(Clone)]
pub struct Ring {
    memory: Memory,
    address: u64,
    words: usize,
}

impl Dma for Ring {
    fn address(&self) -> u64 {
        self.address
    }

    fn words(&self) -> usize {
        self.words
    }

    fn load(&self, index: usize) -> u64 {
        assert!(index < self.words, "word {index} is not in the ring");
        let mut word = [0; 8];
        self.memory.read(self.address + 8 * index as u64, &mut word);
        u64::from_le_bytes(word)
    }

    fn store(&self, index: usize, value: u64) {
        assert!(index < self.words, "word {index} is not in the ring");
        self.memory.fill(self.address + 8 * index as u64, &value.to_le_bytes());
    }
}
