//! What a boot medium holds, in memory.

use corey_lib_archive::{DataAt, Writer};

/// An archive under construction.
#[derive(Debug, Default)]
pub struct Archive {
    files: Vec<(String, Vec<u8>)>,
}

impl Archive {
    /// An archive with a minimal program `bin/init`.
    #[must_use]
    pub fn with_init() -> Self {
        Self::default().file("bin/init", program_image())
    }

    /// Adds a file.
    #[must_use]
    pub fn file(mut self, name: &str, data: Vec<u8>) -> Self {
        self.files.push((name.to_owned(), data));
        self
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(DataAt::Page, |part: &[u8]| bytes.extend_from_slice(part));
        for (name, data) in &self.files {
            writer.file(name, 0o755, data);
        }
        writer.finish();
        bytes
    }
}

/// The smallest program: one page of text at 4 MiB. Tests play it; its instructions are never executed.
#[must_use]
pub fn program_image() -> Vec<u8> {
    const TEXT: u64 = 0x40_0000;
    let mut out = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    out.extend(2_u16.to_le_bytes());
    out.extend(62_u16.to_le_bytes());
    out.extend(1_u32.to_le_bytes());
    for word in [TEXT, 64, 0] {
        out.extend(word.to_le_bytes());
    }
    out.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 64, 0, 0] {
        out.extend(half.to_le_bytes());
    }
    out.extend(1_u32.to_le_bytes());
    out.extend(5_u32.to_le_bytes());
    for word in [0x1000, TEXT, TEXT, 0x100, 0x100, 4096] {
        out.extend(word.to_le_bytes());
    }
    out.resize(0x1100, 0x90);
    out
}
