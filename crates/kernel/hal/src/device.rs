//! A device as its driver sees it: registers, and memory that both read and write.

/// A window of a device's 32-bit registers in memory space.
///
/// Accesses reach the device in program order, each exactly once, as 32 bits. A write may still be on its way when
/// the method returns; a read comes back after every earlier write has arrived. A write leaves after all earlier
/// stores to memory, [`Dma::store`] included, can be seen by the device: that is what makes a write to a tail register
/// a doorbell.
pub trait Mmio {
    /// Reads the register at byte `offset`. All ones beyond the window, and if no device answers.
    fn read(&self, offset: u32) -> u32;

    /// Writes the register at byte `offset`; beyond the window nothing happens.
    fn write(&self, offset: u32, value: u32);
}

/// Memory that a device reads and writes while the driver does: a ring of descriptors.
///
/// Each access is one 64-bit access, in the machine's byte order; the device may write between any two. It stays where it
/// is for as long as the value lives.
pub trait Dma {
    /// Where the device finds word 0: a bus address.
    fn address(&self) -> u64;

    /// Length, in words of 64 bits.
    fn words(&self) -> usize;

    /// Reads word `index`; 0 beyond the end. No later access to memory is done before it (acquire), so what the device
    /// wrote before this word is seen after it.
    fn load(&self, index: usize) -> u64;

    /// Writes word `index`; beyond the end nothing happens. No earlier access to memory is done after it (release).
    fn store(&self, index: usize, value: u64);
}
