//! The writer of cpio archives in the `newc` format.
#![allow(
    clippy::arithmetic_side_effects,
    reason = "the host writes archives of files it has in memory: sizes are far from overflowing"
)]

use core::fmt::{self, Write as _};

use crate::newc::{HEADER, MAGIC, REGULAR, TRAILER};

/// Where the data of files begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataAt {
    /// At multiples of 4: the smallest archive; Linux refuses long names.
    Word,
    /// At multiples of 4096 from the start of the archive: the name field is filled up with NULs.
    Page,
}

/// Writes an archive piece by piece to a sink.
#[derive(Debug)]
pub struct Writer<S> {
    sink: S,
    data_at: DataAt,
    position: usize,
    inode: u32,
}

impl<S: FnMut(&[u8])> Writer<S> {
    /// Starts an archive; `sink` gets the bytes in order.
    pub const fn new(data_at: DataAt, sink: S) -> Self {
        Self { sink, data_at, position: 0, inode: 0 }
    }

    /// Adds a regular file with permission bits `mode`.
    ///
    /// # Panics
    ///
    /// When `data` or the name has 4 GiB or more.
    pub fn file(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.entry(name, REGULAR | mode, (0, 0), data);
    }

    /// Adds a directory.
    pub fn directory(&mut self, name: &str) {
        self.entry(name, 0o040_755, (0, 0), &[]);
    }

    /// Adds a character device.
    pub fn character_device(&mut self, name: &str, major: u32, minor: u32) {
        self.entry(name, 0o020_600, (major, minor), &[]);
    }

    /// Ends the archive.
    pub fn finish(mut self) {
        self.data_at = DataAt::Word;
        self.entry(TRAILER, 0, (0, 0), &[]);
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), data: &[u8]) {
        self.inode += 1;
        let boundary = match self.data_at {
            DataAt::Word => 4,
            DataAt::Page => 4096,
        };
        let name_at = self.position + HEADER;
        let data_at = (name_at + name.len() + 1).next_multiple_of(boundary);
        let name_size = match self.data_at {
            DataAt::Word => name.len() + 1,
            DataAt::Page => data_at - name_at,
        };
        let size = |n: usize| u32::try_from(n).expect("newc has 32-bit sizes");
        let (major, minor) = device;
        // inode, mode, uid, gid, links, mtime, size, device ×2, own device ×2, name, checksum.
        let fields = [self.inode, mode, 0, 0, 1, 0, size(data.len()), 0, 0, major, minor, size(name_size), 0];
        self.put(MAGIC);
        for field in fields {
            write!(Text(self), "{field:08x}").expect("the sink takes everything");
        }
        self.put(name.as_bytes());
        self.pad_to(data_at);
        self.put(data);
        self.pad_to(self.position.next_multiple_of(4));
    }

    fn put(&mut self, bytes: &[u8]) {
        (self.sink)(bytes);
        self.position += bytes.len();
    }

    fn pad_to(&mut self, position: usize) {
        while self.position < position {
            let step = (position - self.position).min(64);
            self.put([0; 64].get(..step).expect("at most 64"));
        }
    }
}

struct Text<'a, S>(&'a mut Writer<S>);

impl<S: FnMut(&[u8])> fmt::Write for Text<'_, S> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.put(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_holds_size_and_mode_in_hexadecimal() {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(DataAt::Word, |part: &[u8]| bytes.extend_from_slice(part));
        writer.file("f", 0o644, b"0123456789abcdef!");
        writer.finish();
        assert_eq!(&bytes[14..22], b"000081a4");
        assert_eq!(&bytes[54..62], b"00000011");
        assert_eq!(&bytes[94..102], b"00000002");
        assert_eq!(&bytes[110..112], b"f\0");
        assert_eq!(&bytes[112..129], b"0123456789abcdef!");
        assert_eq!(&bytes[132..138], MAGIC);
        assert_eq!(bytes.len() % 4, 0);
    }
}
