//! The boot information.

use corey_abi::{BOOT_MAGIC, BootHeader, BootModule, Id, ObjRef, Plain};

/// What the program was started with.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// The header.
    pub header: BootHeader,
    bytes: &'static [u8],
}

/// A file of the archive.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// Its path, as in `bin/init`.
    pub name: &'static str,
    /// Its segment.
    pub segment: ObjRef,
    /// Its size.
    pub bytes: u64,
}

impl Info {
    /// Reads the information at `address`.
    ///
    /// # Panics
    ///
    /// When it does not begin with the magic number: then nothing started this program as it must be.
    pub(crate) fn read(address: u64) -> Self {
        // SAFETY: the kernel (or the program before) mapped the information here, for good and read-only.
        let bytes = unsafe { core::slice::from_raw_parts(address as *const u8, BootHeader::BYTES) };
        let header = BootHeader::from_bytes(bytes).filter(|h| h.magic == BOOT_MAGIC);
        let header = header.expect("a program starts with boot information");
        // SAFETY: as above; the header says how long it is.
        let bytes = unsafe { core::slice::from_raw_parts(address as *const u8, header.bytes as usize) };
        Self { header, bytes }
    }

    fn text(&self, [offset, bytes]: [u64; 2]) -> &'static str {
        let range = offset as usize..offset.saturating_add(bytes) as usize;
        self.bytes.get(range).and_then(|text| core::str::from_utf8(text).ok()).unwrap_or("")
    }

    /// Words of the command line, with spaces between.
    #[must_use]
    pub fn command_line(&self) -> &'static str {
        self.text(self.header.command_line)
    }

    /// The number behind `key` in the command line: the first word that is these two.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<u64> {
        let words = self.command_line().split_whitespace();
        words.filter_map(|word| word.strip_prefix(key)).find_map(|number| number.parse().ok())
    }

    /// Whether `word` is one of the command line.
    #[must_use]
    pub fn has_word(&self, word: &str) -> bool {
        self.command_line().split_whitespace().any(|other| other == word)
    }

    /// Vendor and model of the processor.
    #[must_use]
    pub fn cpu(&self) -> &'static str {
        self.text(self.header.cpu)
    }

    /// All of it.
    #[must_use]
    pub fn bytes(&self) -> &'static [u8] {
        self.bytes
    }

    /// The files of the archive.
    pub fn modules(&self) -> impl Iterator<Item = Module> + '_ {
        let [offset, count] = self.header.modules;
        (0..count as usize).filter_map(move |number| {
            let at = offset as usize + number * BootModule::BYTES;
            let record = BootModule::from_bytes(self.bytes.get(at..)?)?;
            let segment = ObjRef { share: record.share, object: record.segment };
            Some(Module { name: self.text(record.name), segment, bytes: record.bytes })
        })
    }

    /// The program `name`.
    #[must_use]
    pub fn program(&self, name: &str) -> Option<Module> {
        self.modules().find(|module| module.name.strip_prefix("bin/") == Some(name))
    }

    /// The share that names the program's own objects.
    #[must_use]
    pub fn program_share(&self) -> Id {
        self.header.program
    }
}
