//! What the loader told, in one form.

use crate::memory::Pieces;
use crate::{multiboot, pvh};
use corey_kernel_hal::Range;

/// Most bytes of a command line.
pub const COMMAND_LINE: usize = 1024;

/// Who loaded the kernel, as the entry code passes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loader {
    /// A Multiboot2 loader: GRUB.
    Multiboot2,
    /// A hypervisor, directly.
    Pvh,
}

/// A picture that the firmware shows, as the loader says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framebuffer {
    /// Physical address.
    pub address: u64,
    /// Pixels of a row, and rows.
    pub size: (u32, u32),
    /// Bytes from one row to the next.
    pub pitch: u32,
    /// Bits of a pixel.
    pub bits: u8,
    /// Red, green, blue: lowest bit, and how many.
    pub colours: [(u8, u8); 3],
}

/// Everything the loader said that matters.
#[derive(Debug, Default)]
pub struct Facts {
    /// RAM; nothing is cut out yet.
    pub ram: Pieces,
    /// What is in use: loader structures, modules.
    pub used: heapless::Vec<Range, 16>,
    /// Words for the kernel and init.
    pub command_line: heapless::String<COMMAND_LINE>,
    /// The first module.
    pub archive: Option<Range>,
    /// Physical address of the ACPI root pointer, or of a copy of it.
    pub rsdp: Option<u64>,
    /// The screen, where it shows pixels and not VGA text.
    pub framebuffer: Option<Framebuffer>,
    /// What was wrong, to be told when there is a console.
    pub complaint: Option<&'static str>,
}

impl Facts {
    /// Reads the loader's information.
    ///
    /// # Safety
    ///
    /// `kind` and `address` are as the entry code got them; the boot tables are live.
    #[must_use]
    pub unsafe fn read(kind: u64, address: u64) -> Self {
        let mut facts = Self::default();
        match kind {
            // SAFETY: the caller's promise.
            1 => unsafe { multiboot::read(&mut facts, address) },
            // SAFETY: the caller's promise.
            _ => unsafe { pvh::read(&mut facts, address) },
        }
        facts
    }

    pub(crate) fn set_command_line(&mut self, text: &str) {
        for c in text.trim().chars() {
            if self.command_line.push(c).is_err() {
                self.complaint = Some("the command line is cut after 1024 bytes");
                break;
            }
        }
    }

    pub(crate) fn add_ram(&mut self, start: u64, bytes: u64) {
        let Some(end) = start.checked_add(bytes) else {
            self.complaint = Some("a piece of the memory map wraps around and is ignored");
            return;
        };
        // Frame numbers have 32 bits: RAM above 16 TiB is not used.
        let end = end.min(1 << 44);
        if start < end && !self.ram.add(Range { start, end }) {
            self.complaint =
                Some("the memory map has more pieces than this kernel keeps; some RAM is not used");
        }
    }

    pub(crate) fn add_used(&mut self, start: u64, end: u64) {
        if self.used.push(Range { start, end }).is_err() {
            self.complaint = Some("more modules than this kernel keeps");
        }
    }

    pub(crate) fn add_module(&mut self, start: u64, end: u64) {
        if start >= end || end > 1 << 32 {
            self.complaint = Some("a module lies outside the first 4 GiB, or is empty, and is ignored");
            return;
        }
        self.add_used(start, end);
        if self.archive.is_none() {
            self.archive = Some(Range { start, end });
        }
    }
}
