//! The reader of cpio archives in the `newc` format, uncompressed.
//!
//! An entry is a header of 110 bytes in ASCII (magic `070701`, then 13 numbers of 8 hexadecimal
//! digits), the name with its NUL, zeros up to a multiple of 4, the data, zeros up to a multiple of
//! 4. The entry `TRAILER!!!` ends the archive.

use core::fmt;

pub(crate) const MAGIC: &[u8] = b"070701";
pub(crate) const HEADER: usize = 110;
pub(crate) const TRAILER: &str = "TRAILER!!!";
pub(crate) const REGULAR: u32 = 0o100_000;
const KIND_MASK: u32 = 0o170_000;

/// A file of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File<'a> {
    /// Path without a leading slash, as in `bin/init`.
    pub name: &'a str,
    /// Contents.
    pub data: &'a [u8],
    /// Bytes from the start of the archive to the contents: a multiple of 4096 in our own archives.
    /// What follows the contents on their last page is the next entry, not zeros.
    pub offset: usize,
}

/// What is wrong with an archive, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt {
    /// Byte offset of the entry from the start of the archive.
    pub at: usize,
    /// What is wrong with it.
    pub flaw: Flaw,
}

/// What can be wrong with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The archive has no bytes at all.
    Empty,
    /// The entry does not start with `070701`.
    Magic,
    /// A number of the header is not made of hexadecimal digits.
    Number,
    /// The name is empty, has no NUL at its end, or is not UTF-8.
    Name,
    /// The archive ends inside the entry.
    CutShort,
    /// The archive ends without its last entry.
    NoTrailer,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.flaw {
            Flaw::Empty => "it is empty",
            Flaw::Magic => "an entry does not start with 070701",
            Flaw::Number => "a number in a header is not hexadecimal",
            Flaw::Name => "a name is empty, unterminated or not UTF-8",
            Flaw::CutShort => "it ends inside an entry",
            Flaw::NoTrailer => "its last entry, TRAILER!!!, is missing",
        };
        write!(f, "corrupt archive: {text} (byte {})", self.at)
    }
}

/// An archive in memory.
#[derive(Clone, Copy, Debug)]
pub struct Archive<'a>(&'a [u8]);

impl<'a> Archive<'a> {
    /// Reads `bytes` as an archive; nothing is checked yet.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Returns the regular files in archive order. The first flaw is the last item.
    pub const fn files(&self) -> Files<'a> {
        Files { bytes: self.0, next: Some(0) }
    }

    /// Walks the whole archive and returns how many regular files it has.
    ///
    /// # Errors
    ///
    /// The first flaw.
    pub fn check(&self) -> Result<usize, Corrupt> {
        self.files().try_fold(0_usize, |count, file| file.map(|_| count.saturating_add(1)))
    }

    /// Returns the file called `name`; `None` when it is not there.
    ///
    /// # Errors
    ///
    /// A flaw found before the file.
    pub fn find(&self, name: &str) -> Result<Option<File<'a>>, Corrupt> {
        for file in self.files() {
            let file = file?;
            if file.name == name {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }
}

/// The files of an archive.
#[derive(Clone, Debug)]
pub struct Files<'a> {
    bytes: &'a [u8],
    /// Where the next entry starts; `None` after the end or a flaw.
    next: Option<usize>,
}

struct Entry<'a> {
    mode: u32,
    file: File<'a>,
    end: usize,
}

impl<'a> Iterator for Files<'a> {
    type Item = Result<File<'a>, Corrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let at = self.next.take()?;
            match entry(self.bytes, at) {
                Err(flaw) => return Some(Err(Corrupt { at, flaw })),
                Ok(entry) if entry.file.name == TRAILER => return None,
                Ok(entry) => {
                    self.next = Some(entry.end);
                    if entry.mode & KIND_MASK == REGULAR {
                        return Some(Ok(entry.file));
                    }
                }
            }
        }
    }
}

fn entry(bytes: &[u8], at: usize) -> Result<Entry<'_>, Flaw> {
    let rest = bytes.get(at..).unwrap_or(&[]);
    if rest.is_empty() {
        return Err(if at == 0 { Flaw::Empty } else { Flaw::NoTrailer });
    }
    if !rest.starts_with(MAGIC) {
        return Err(Flaw::Magic);
    }
    let mode = number(rest, 14)?;
    let data_size = number(rest, 54)? as usize;
    let name_size = number(rest, 94)? as usize;
    let name_at = add(at, HEADER)?;
    let name_end = add(name_at, name_size)?;
    let field = bytes.get(name_at..name_end).ok_or(Flaw::CutShort)?;
    let offset = round_up(name_end)?;
    let data_end = add(offset, data_size)?;
    let data = bytes.get(offset..data_end).ok_or(Flaw::CutShort)?;
    let file = File { name: name(field)?, data, offset };
    let end = round_up(data_end)?;
    Ok(Entry { mode, file, end })
}

/// The text before the first NUL; more NULs may follow, they align the data.
fn name(field: &[u8]) -> Result<&str, Flaw> {
    let length = field.iter().position(|b| *b == 0).ok_or(Flaw::Name)?;
    let text = field.get(..length).ok_or(Flaw::Name)?;
    match core::str::from_utf8(text) {
        Ok("") | Err(_) => Err(Flaw::Name),
        Ok(text) => Ok(text),
    }
}

fn number(entry: &[u8], at: usize) -> Result<u32, Flaw> {
    let digits = entry.get(at..).and_then(|rest| rest.get(..8));
    digits.ok_or(Flaw::CutShort)?.iter().try_fold(0, |n, byte| {
        let digit = char::from(*byte).to_digit(16).ok_or(Flaw::Number)?;
        Ok(n << 4 | digit)
    })
}

fn add(a: usize, b: usize) -> Result<usize, Flaw> {
    a.checked_add(b).ok_or(Flaw::CutShort)
}

fn round_up(n: usize) -> Result<usize, Flaw> {
    n.checked_next_multiple_of(4).ok_or(Flaw::CutShort)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataAt, Writer};

    fn archive() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(DataAt::Page, |part: &[u8]| bytes.extend_from_slice(part));
        writer.directory("bin");
        writer.file("bin/init", 0o755, &[7; 5000]);
        writer.character_device("console", 5, 1);
        writer.file("data/empty", 0o644, &[]);
        writer.finish();
        bytes
    }

    fn flaw(bytes: &[u8]) -> (usize, Flaw) {
        let corrupt = Archive::new(bytes).check().unwrap_err();
        (corrupt.at, corrupt.flaw)
    }

    #[test]
    fn what_was_written_is_read_back_on_page_boundaries() {
        let bytes = archive();
        let files: Vec<_> = Archive::new(&bytes).files().map(Result::unwrap).collect();
        assert_eq!(files.len(), 2);
        assert_eq!((files[0].name, files[0].data), ("bin/init", &[7; 5000][..]));
        assert_eq!((files[1].name, files[1].data), ("data/empty", &[][..]));
        assert!(files.iter().all(|f| f.offset % 4096 == 0));
        assert!(Archive::new(&bytes).find("bin/init").unwrap().is_some());
        assert_eq!(Archive::new(&bytes).find("bin/none"), Ok(None));
    }

    #[test]
    fn each_flaw_has_its_name_and_place() {
        let bytes = archive();
        let second = 4096; // the directory's (empty) data is on the first page boundary
        assert_eq!(flaw(&[]), (0, Flaw::Empty));
        assert_eq!(flaw(b"garbage"), (0, Flaw::Magic));
        assert_eq!(flaw(&bytes[..60]), (0, Flaw::CutShort));
        assert_eq!(flaw(&bytes[..second]), (second, Flaw::NoTrailer));
        assert_eq!(flaw(&bytes[..second + 4200]), (second, Flaw::CutShort));
        let with = |at: usize, new: &[u8]| {
            let mut bytes = bytes.clone();
            bytes[at..at + new.len()].copy_from_slice(new);
            bytes
        };
        assert_eq!(flaw(&with(second + 54, b"+0000001")), (second, Flaw::Number));
        assert_eq!(flaw(&with(second + 54, b"ffffffff")), (second, Flaw::CutShort));
        assert_eq!(flaw(&with(second + 94, b"ffffffff")), (second, Flaw::CutShort));
        assert_eq!(flaw(&with(second + 94, b"00000000")), (second, Flaw::Name));
        assert_eq!(flaw(&with(second + 110, b"\0")), (second, Flaw::Name));
        assert_eq!(flaw(&with(second + 110, b"\xff")), (second, Flaw::Name));
        assert_eq!(flaw(&with(second, b"070702")), (second, Flaw::Magic));
    }

    #[test]
    fn a_flaw_ends_the_walk() {
        let bytes = archive();
        let mut files = Archive::new(&bytes[..5000]).files();
        assert!(files.next().unwrap().is_err());
        assert!(files.next().is_none());
    }

    #[test]
    fn the_message_says_what_and_where() {
        let text = Archive::new(b"x").check().unwrap_err().to_string();
        assert_eq!(text, "corrupt archive: an entry does not start with 070701 (byte 0)");
    }
}
