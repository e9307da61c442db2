//! What a program image says about memory, or why it is not one.
//!
//! **Paper.** None: the prototype linked its programs into the kernel's boot image.
//!
//! **Invariants.** A [`Program`] that [`Program::parse`] returns has at least one and at most
//! [`MAX_SEGMENTS`] segments in ascending order, none overlapping in whole pages, all in the user half, with
//! file bytes inside the image, none both writable and executable; its entry lies in an executable one.
//! Whoever loads it need not check again.
//!
//! **Sharing.** None: no state.
//!
//! **Testing.** Unit tests build images by hand and break them field by field; a property test feeds noise.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use core::fmt;
use elf::ElfBytes;
use elf::abi::{EM_X86_64, ET_EXEC, PF_W, PF_X, PT_DYNAMIC, PT_INTERP, PT_LOAD};
use elf::endian::LittleEndian;

/// Most loadable segments of a program.
pub const MAX_SEGMENTS: usize = 16;
/// Bytes of a page.
const PAGE: u64 = 4096;
/// First address that no program may use.
const USER_END: u64 = 1 << 47;
/// Most bytes of memory a program may ask for.
const MAX_BYTES: u64 = 1 << 32;

/// One loadable segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// First address, anywhere in its first page.
    pub address: u64,
    /// Bytes in memory; what the image does not fill is zero.
    pub memory_bytes: u64,
    /// Offset of the contents in the image.
    pub offset: u64,
    /// Bytes of contents.
    pub file_bytes: u64,
    /// Whether the program may write it.
    pub write: bool,
    /// Whether the program may execute it.
    pub execute: bool,
}

impl Load {
    /// Address of its first page.
    #[must_use]
    pub fn first_page(&self) -> u64 {
        self.address & !(PAGE - 1)
    }

    /// Pages it covers.
    #[must_use]
    pub fn pages(&self) -> u64 {
        let end = self.address.saturating_add(self.memory_bytes);
        end.saturating_sub(self.first_page()).div_ceil(PAGE)
    }
}

/// Why an image cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// It is no 64-bit little-endian ELF file, or its headers are cut off.
    NotElf,
    /// It is for another machine, or not a static executable.
    NotStatic,
    /// It has no loadable segment, or more than [`MAX_SEGMENTS`].
    Segments,
    /// A segment's contents lie outside the image, or exceed its memory.
    Contents,
    /// A segment lies in page 0 or reaches the kernel's half, or all together exceed 4 GiB.
    Address,
    /// Two segments share a page, or are not in ascending order.
    Overlap,
    /// A segment is writable and executable.
    WriteExecute,
    /// The entry is in no executable segment.
    Entry,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotElf => "not a 64-bit ELF file, or cut off",
            Self::NotStatic => "not a static x86-64 executable (link with -static and without PIE)",
            Self::Segments => "no loadable segment, or more than 16",
            Self::Contents => "a segment's contents lie outside the file or exceed its memory size",
            Self::Address => "a segment lies in page 0 or above the user half, or the program exceeds 4 GiB",
            Self::Overlap => "two segments share a page or are not in ascending order",
            Self::WriteExecute => "a segment is both writable and executable",
            Self::Entry => "the entry point is in no executable segment",
        })
    }
}

/// A program's segments and entry point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// In ascending order.
    pub segments: heapless::Vec<Load, MAX_SEGMENTS>,
    /// First instruction.
    pub entry: u64,
}

impl Program {
    /// Reads the headers of `image`.
    ///
    /// # Errors
    ///
    /// [`Bad`].
    pub fn parse(image: &[u8]) -> Result<Self, Bad> {
        let file = ElfBytes::<LittleEndian>::minimal_parse(image).map_err(|_| Bad::NotElf)?;
        if file.ehdr.e_machine != EM_X86_64 || file.ehdr.e_type != ET_EXEC {
            return Err(Bad::NotStatic);
        }
        let headers = file.segments().ok_or(Bad::NotElf)?;
        let mut segments = heapless::Vec::new();
        let mut free = PAGE;
        let mut total = 0_u64;
        for header in headers.iter() {
            match header.p_type {
                PT_LOAD if header.p_memsz > 0 => {}
                PT_INTERP | PT_DYNAMIC => return Err(Bad::NotStatic),
                _ => continue,
            }
            let load = Load {
                address: header.p_vaddr,
                memory_bytes: header.p_memsz,
                offset: header.p_offset,
                file_bytes: header.p_filesz,
                write: header.p_flags & PF_W != 0,
                execute: header.p_flags & PF_X != 0,
            };
            let file_end = load.offset.checked_add(load.file_bytes).ok_or(Bad::Contents)?;
            if file_end > image.len() as u64 || load.file_bytes > load.memory_bytes {
                return Err(Bad::Contents);
            }
            let end = load.address.checked_add(load.memory_bytes).ok_or(Bad::Address)?;
            total = total.checked_add(load.memory_bytes).ok_or(Bad::Address)?;
            if load.first_page() < PAGE || end > USER_END || total > MAX_BYTES {
                return Err(Bad::Address);
            }
            if load.first_page() < free {
                return Err(Bad::Overlap);
            }
            if load.write && load.execute {
                return Err(Bad::WriteExecute);
            }
            free = end.next_multiple_of(PAGE);
            segments.push(load).map_err(|_| Bad::Segments)?;
        }
        if segments.is_empty() {
            return Err(Bad::Segments);
        }
        let entry = file.ehdr.e_entry;
        let inside =
            |l: &Load| l.execute && entry >= l.address && entry < l.address.saturating_add(l.memory_bytes);
        if !segments.iter().any(inside) {
            return Err(Bad::Entry);
        }
        Ok(Self { segments, entry })
    }

    /// First address above all segments, page aligned.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.segments.last().map_or(0, |l| l.first_page().saturating_add(l.pages().saturating_mul(PAGE)))
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may panic"
)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: u64 = 0x40_0000;

    /// An image of one program header per entry: (flags, address, offset, file bytes, memory bytes).
    fn image(entry: u64, loads: &[(u32, u64, u64, u64, u64)]) -> Vec<u8> {
        let mut out = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        out.extend(2_u16.to_le_bytes());
        out.extend(62_u16.to_le_bytes());
        out.extend(1_u32.to_le_bytes());
        for word in [entry, 64, 0] {
            out.extend(word.to_le_bytes());
        }
        out.extend(0_u32.to_le_bytes());
        for half in [64_u16, 56, loads.len() as u16, 64, 0, 0] {
            out.extend(half.to_le_bytes());
        }
        for (flags, address, offset, file, memory) in loads {
            out.extend(1_u32.to_le_bytes());
            out.extend(flags.to_le_bytes());
            for word in [*offset, *address, *address, *file, *memory, 4096] {
                out.extend(word.to_le_bytes());
            }
        }
        out.resize(0x2000, 0x90);
        out
    }

    #[test]
    fn a_good_image_is_understood() {
        let program = Program::parse(&image(
            TEXT + 8,
            &[(5, TEXT, 0x1000, 0x100, 0x100), (6, TEXT + 0x1010, 0x1010, 4, 0x2000)],
        ));
        let program = program.unwrap();
        assert_eq!(program.segments.len(), 2);
        assert_eq!(program.segments[1].pages(), 3);
        assert_eq!(program.end(), TEXT + 0x4000);
    }

    #[test]
    fn each_fault_is_named() {
        let text = (5, TEXT, 0x1000, 0x100, 0x100);
        let cases: &[(Bad, Vec<u8>)] = &[
            (Bad::NotElf, b"\x7fELF".to_vec()),
            (Bad::Segments, image(TEXT, &[])),
            (
                Bad::Segments,
                image(TEXT, &(0..17).map(|i| (5, TEXT + i * 0x1000, 0, 1, 1)).collect::<Vec<_>>()),
            ),
            (Bad::Contents, image(TEXT, &[(5, TEXT, 0x1fff, 2, 2)])),
            (Bad::Contents, image(TEXT, &[(5, TEXT, u64::MAX, 2, 2)])),
            (Bad::Contents, image(TEXT, &[(5, TEXT, 0x1000, 3, 2)])),
            (Bad::Address, image(TEXT, &[(5, 0x800, 0x1000, 2, 2)])),
            (Bad::Address, image(TEXT, &[(5, u64::MAX - 1, 0x1000, 2, 20)])),
            (Bad::Address, image(TEXT, &[(5, 0xffff_8000_0000_0000, 0x1000, 2, 2)])),
            (Bad::Address, image(TEXT, &[(5, (1 << 47) - 4096, 0x1000, 2, 4097)])),
            (Bad::Overlap, image(TEXT, &[text, (6, TEXT + 0xf00, 0x1000, 1, 1)])),
            (Bad::Overlap, image(TEXT, &[(6, TEXT + 0x1000, 0x1000, 1, 1), text])),
            (Bad::WriteExecute, image(TEXT, &[(7, TEXT, 0x1000, 2, 2)])),
            (Bad::Entry, image(TEXT - 1, &[text])),
            (Bad::Entry, image(TEXT, &[(4, TEXT, 0x1000, 2, 2)])),
        ];
        for (bad, image) in cases {
            assert_eq!(Program::parse(image), Err(*bad), "{bad}");
        }
        let mut shared = image(TEXT, &[text]);
        shared[16] = 3;
        assert_eq!(Program::parse(&shared), Err(Bad::NotStatic));
    }

    proptest! {
        #[test]
        fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Program::parse(&bytes);
        }

        #[test]
        fn one_changed_byte_never_panics(at in 0_usize..400, value in any::<u8>()) {
            let mut image = image(TEXT, &[(5, TEXT, 0x1000, 0x100, 0x100), (6, TEXT + 0x1000, 0x1100, 4, 0x2000)]);
            image[at] = value;
            if let Ok(program) = Program::parse(&image) {
                prop_assert!(program.segments.iter().all(|l| l.offset + l.file_bytes <= image.len() as u64));
            }
        }
    }
}
