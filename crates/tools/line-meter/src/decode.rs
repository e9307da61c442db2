//! What the meter must know of an x86-64 instruction beside its length.

use corey_lib_bench::marker::{self, Kind};

/// The properties of one instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instruction {
    /// A marker: benchmark variant and kind.
    pub marker: Option<(u32, Kind)>,
    /// A string instruction with a `rep` prefix.
    pub rep: bool,
    /// Atomic: a `lock` prefix, or `xchg` with memory.
    pub locked: bool,
    /// `mov` to CR3.
    pub cr3_write: bool,
    /// `invlpg` or `invpcid`.
    pub invlpg: bool,
    /// Compares and exchanges 16 bits of memory, atomically: how the kernel takes a lock, and nothing else of it.
    pub takes_lock: bool,
    /// `hlt`.
    pub halt: bool,
}

/// Decodes an instruction of 64-bit mode.
pub fn decode(bytes: &[u8]) -> Instruction {
    let mut found = Instruction::default();
    let (mut lock, mut repeat, mut operand_size) = (false, false, false);
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        match first {
            0xf0 => lock = true,
            0xf2 | 0xf3 => repeat = true,
            0x66 => operand_size = true,
            0x67 | 0x2e | 0x36 | 0x3e | 0x26 | 0x64 | 0x65 => {}
            0x40..=0x4f => {}
            _ => break,
        }
        rest = tail;
    }
    found.locked = lock;
    match *rest {
        [0x0f, 0x1f, 0x80, a, b, c, d, ..] if rest.len() == bytes.len() => {
            found.marker = marker::decode(u32::from_le_bytes([a, b, c, d]));
        }
        // ins, outs, movs, cmps, stos, lods, scas
        [0x6c..=0x6f | 0xa4..=0xa7 | 0xaa..=0xaf, ..] => found.rep = repeat,
        // xchg; a register operand has mod = 3
        [0x86 | 0x87, modrm, ..] => found.locked |= modrm >> 6 != 3,
        // cmpxchg of 16 bits
        [0x0f, 0xb1, ..] => found.takes_lock = lock && operand_size,
        [0xf4] => found.halt = true,
        [0x0f, 0x22, modrm, ..] => found.cr3_write = (modrm >> 3) & 7 == 3,
        [0x0f, 0x01, modrm, ..] => found.invlpg = (modrm >> 3) & 7 == 7 && modrm >> 6 != 3,
        [0x0f, 0x38, 0x82, ..] => found.invlpg = operand_size,
        _ => {}
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_recognized_and_other_nops_are_not() {
        let marker = decode(&[0x0f, 0x1f, 0x80, 0x13, 0x02, 0x52, 0x43]).marker;
        assert_eq!(marker, Some((0x21, Kind::Begin)));
        assert_eq!(decode(&[0x0f, 0x1f, 0x80, 0, 0, 0, 0]), Instruction::default());
    }

    #[test]
    fn rep_is_a_prefix_of_string_instructions_only() {
        assert!(decode(&[0xf3, 0x48, 0xab]).rep);
        assert!(decode(&[0xf3, 0x48, 0xa5]).rep);
        assert!(!decode(&[0x48, 0xab]).rep);
        assert!(!decode(&[0xf3, 0x90]).rep, "pause");
        assert!(!decode(&[0xf3, 0x0f, 0xb8, 0xc0]).rep, "popcnt");
    }

    #[test]
    fn atomic_instructions_are_lock_and_xchg_with_memory() {
        assert!(decode(&[0xf0, 0x48, 0x0f, 0xc1, 0x07]).locked);
        assert!(decode(&[0x3e, 0xf0, 0x0f, 0xb1, 0x17]).locked);
        assert!(decode(&[0x48, 0x87, 0x07]).locked);
        assert!(!decode(&[0x48, 0x87, 0xc7]).locked, "xchg of registers");
        assert!(!decode(&[0x48, 0x89, 0x07]).locked);
    }

    #[test]
    fn locks_are_told_from_other_exchanges() {
        assert!(decode(&[0x66, 0xf0, 0x0f, 0xb1, 0x0f]).takes_lock);
        assert!(decode(&[0xf0, 0x66, 0x41, 0x0f, 0xb1, 0x0c, 0x24]).takes_lock);
        assert!(!decode(&[0x66, 0x0f, 0xb1, 0x0f]).takes_lock, "not atomic");
        assert!(!decode(&[0xf0, 0x0f, 0xb1, 0x0f]).takes_lock, "32 bits");
        assert!(!decode(&[0xf0, 0x48, 0x0f, 0xb1, 0x0f]).takes_lock, "64 bits");
    }

    #[test]
    fn a_processor_that_stops_is_seen() {
        assert!(decode(&[0xf4]).halt);
        assert!(!decode(&[0x90]).halt);
    }

    #[test]
    fn translations_changed_are_seen() {
        assert!(decode(&[0x0f, 0x22, 0xd8]).cr3_write);
        assert!(decode(&[0x41, 0x0f, 0x22, 0xda]).cr3_write, "mov cr3, r10");
        assert!(!decode(&[0x0f, 0x22, 0xe0]).cr3_write, "cr4");
        assert!(decode(&[0x0f, 0x01, 0x38]).invlpg);
        assert!(!decode(&[0x0f, 0x01, 0xf8]).invlpg, "swapgs");
        assert!(decode(&[0x66, 0x0f, 0x38, 0x82, 0x00]).invlpg);
    }
}
