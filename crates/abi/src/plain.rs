//! Layouts as bytes: how the kernel reads and writes them without touching user memory by reference.

use crate::{
    AuditReport, BootHeader, BootModule, BufferHeader, CacheInfo, CardConfig, CoreStat, DeviceEntry,
    HeldShare, Id, Locality, MachineInfo, Mapping, NetworkStat, ObjRef, Position, RingConfig, RunContext,
    RunHead, ShareEntry, TreeTable, UpcallFrame,
};

/// A layout of fixed size, little endian, without padding.
pub trait Plain: Sized {
    /// Bytes it takes.
    const BYTES: usize;

    /// Reads it from the front of `bytes`, and moves on.
    fn get(bytes: &mut &[u8]) -> Option<Self>;

    /// Writes it to the front of `bytes`, and moves on. Where the room ends, it ends with the last field that fits.
    fn put(&self, bytes: &mut &mut [u8]);

    /// Reads it.
    fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        Self::get(&mut bytes)
    }

    /// Writes it.
    fn to_bytes(&self, mut bytes: &mut [u8]) {
        self.put(&mut bytes);
    }
}

macro_rules! numbers {
    ($($ty:ty),*) => { $(
        impl Plain for $ty {
            const BYTES: usize = size_of::<$ty>();
            #[inline(always)]
            fn get(bytes: &mut &[u8]) -> Option<Self> {
                let (head, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                Some(<$ty>::from_le_bytes(*head))
            }
            #[inline(always)]
            fn put(&self, bytes: &mut &mut [u8]) {
                match core::mem::take(bytes).split_first_chunk_mut() {
                    Some((head, rest)) => {
                        *head = self.to_le_bytes();
                        *bytes = rest;
                    }
                    None => *bytes = &mut [],
                }
            }
        }
    )* };
}
numbers!(u8, u32, u64);

impl<T: Plain + Default + Copy, const N: usize> Plain for [T; N] {
    const BYTES: usize = N * T::BYTES;
    fn get(bytes: &mut &[u8]) -> Option<Self> {
        let mut all = [T::default(); N];
        for one in &mut all {
            *one = T::get(bytes)?;
        }
        Some(all)
    }
    fn put(&self, bytes: &mut &mut [u8]) {
        self.iter().for_each(|one| one.put(bytes));
    }
}

impl Plain for Id {
    const BYTES: usize = 8;
    #[inline(always)]
    fn get(bytes: &mut &[u8]) -> Option<Self> {
        u64::get(bytes).map(Self)
    }
    #[inline(always)]
    fn put(&self, bytes: &mut &mut [u8]) {
        self.0.put(bytes);
    }
}

macro_rules! plain {
    ($($name:ident { $($field:ident: $ty:ty),* $(,)? })*) => { $(
        impl Plain for $name {
            const BYTES: usize = 0 $(+ <$ty as Plain>::BYTES)*;
            #[inline]
            fn get(bytes: &mut &[u8]) -> Option<Self> {
                // One check for all fields: what follows cannot be short.
                let (own, rest) = bytes.split_at_checked(Self::BYTES)?;
                *bytes = rest;
                let own = &mut &*own;
                Some(Self { $($field: Plain::get(own)?),* })
            }
            #[inline]
            fn put(&self, bytes: &mut &mut [u8]) {
                if bytes.len() < Self::BYTES {
                    $(self.$field.put(bytes);)*
                    return;
                }
                // One check for all fields.
                let (mut own, rest) = core::mem::take(bytes).split_at_mut(Self::BYTES);
                $(self.$field.put(&mut own);)*
                *bytes = rest;
            }
        }
        const _: () = assert!(<$name as Plain>::BYTES == size_of::<$name>(), "padding");
    )* };
}

plain! {
    ObjRef { share: Id, object: Id }
    Mapping { kind: u32, flags: u32, object: ObjRef, va: u64, start_page: u64, npages: u64, price: u64, reserved: u64 }
    TreeTable { mappings: u64, count: u64, handler: u64, stack: u64, masked: u64 }
    RunContext {
        tree: ObjRef, mode: u64, nshares: u64, entry: u64, stack: u64, args: [u64; 6], status: ObjRef,
        status_offset: u64, shares: [Id; 20],
    }
    RunHead {
        tree: ObjRef, mode: u64, nshares: u64, entry: u64, stack: u64, args: [u64; 6], status: ObjRef,
        status_offset: u64,
    }
    RingConfig {
        ring: ObjRef, offset: u64, slots: u64, arguments: ObjRef, nshares: u64, shares: [Id; 8], reserved: u64,
    }
    CardConfig { filter: u64, results: ObjRef, offset: u64, reserved: u64 }
    BufferHeader { ready: u32, length: u32, done: u32, error: u32 }
    DeviceEntry { kind: u64, device: u64 }
    NetworkStat {
        address: [u8; 8], speed: u64, model: u64, posted: [u64; 2], room: [u64; 2], received: u64, sent: u64, missed: u64,
        errors: u64, doorbells: u64,
    }
    ShareEntry { id: Id, kind: u64 }
    UpcallFrame {
        vector: u64, error: u64, address: u64, rip: u64, cs: u64, rflags: u64, rsp: u64, ss: u64,
    }
    CacheInfo { level: u32, line: u32, bytes: u64, group: u64 }
    Position { package: u64, thread_group: u64, node: u64, caches: [CacheInfo; 4] }
    Locality {
        apic_id: u64, position: Position, cores: u64, source: u64, distance: [u8; 256], pages: u64,
    }
    HeldShare { id: Id, name: [u8; 32], holders: [u64; 4] }
    CoreStat {
        core: u64, mode: u64, faults: u64, ipis: u64, shootdowns: u64, syscalls: u64, tsc: u64, tree: Id,
        turns: u64, useful: u64, ring_calls: u64, interrupts: u64, nshares: u64, shares: [HeldShare; 20],
    }
    MachineInfo {
        cores: u64, tsc_hz: u64, pages: u64, hypervisor: u64, cpu: [u8; 64], command_line_bytes: u64,
        reserved: [u64; 3], command_line: [u8; 1024],
    }
    AuditReport {
        frames: u64, owned: u64, free: u64, limbo: u64, objects: u64, dying: u64, errors: u64, slots: u64,
        tables: u64, quarantined: u64,
    }
    BootHeader {
        magic: u64, bytes: u64, cores: u64, tsc_hz: u64, share: Id, program: Id, previous: Id, pcore: Id, tree: Id, segment: Id,
        command_line: [u64; 2], modules: [u64; 2], cpu: [u64; 2], free_va: u64, free_slot: u64,
        first: u64,
    }
    BootModule { share: Id, segment: Id, bytes: u64, name: [u64; 2] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_as_they_went() {
        let mut context = RunContext { nshares: 3, entry: 0x1234, ..RunContext::default() };
        context.shares[19] = Id(77);
        let mut bytes = [0; 280];
        context.to_bytes(&mut bytes);
        assert_eq!(RunContext::from_bytes(&bytes), Some(context));
        assert_eq!(RunContext::from_bytes(&bytes[..279]), None);
    }
}
