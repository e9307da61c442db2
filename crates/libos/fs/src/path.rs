//! Paths: names separated by slashes, from the root.

use crate::error::BadName;

/// Most bytes of a name.
pub const NAME_MAX: usize = 255;
/// Most bytes of a path.
pub const PATH_MAX: usize = 4095;

/// A name that can be one, with its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name<'p> {
    pub(crate) bytes: &'p [u8],
    pub(crate) hash: u32,
}

/// Takes the first name off `path`; what is left is `None` after the last one.
#[inline(always)]
pub(crate) fn first(path: &[u8]) -> Result<(Name<'_>, Option<&[u8]>), BadName> {
    let (mut hash, mut seen, mut length) = (0x811c_9dc5_u32, 0_u8, 0);
    while let Some(byte) = path.get(length).filter(|byte| **byte != b'/') {
        // FNV-1a.
        hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        // The highest bit says that there is a zero, or what is not ASCII.
        seen |= byte | byte.wrapping_sub(1);
        length += 1;
    }
    let bytes = path.get(..length).unwrap_or_default();
    if length.wrapping_sub(1) >= NAME_MAX {
        return Err(if length == 0 { BadName::Empty } else { BadName::TooLong });
    }
    if seen & 0x80 != 0 {
        check_text(bytes)?;
    }
    if length <= 2 && bytes.iter().all(|byte| *byte == b'.') {
        return Err(BadName::Dotted);
    }
    // The low bits of a product depend on few of the name's.
    Ok((Name { bytes, hash: hash ^ hash >> 15 }, path.get(length + 1..)))
}

#[cold]
fn check_text(name: &[u8]) -> Result<(), BadName> {
    match name.contains(&0) {
        true => Err(BadName::Zero),
        false if core::str::from_utf8(name).is_err() => Err(BadName::NotUtf8),
        false => Ok(()),
    }
}

/// Checks what can be said before the first name.
pub(crate) fn check(path: &[u8]) -> Result<(), BadName> {
    match path.first() {
        None => Err(BadName::Empty),
        Some(b'/') => Err(BadName::Absolute),
        _ if path.len() > PATH_MAX => Err(BadName::PathTooLong),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn names(path: &[u8]) -> Result<Vec<&[u8]>, BadName> {
        check(path)?;
        let (mut names, mut left) = (Vec::new(), Some(path));
        while let Some(path) = left {
            let (name, rest) = first(path)?;
            names.push(name.bytes);
            left = rest;
        }
        Ok(names)
    }

    #[test]
    fn a_path_is_its_names() {
        assert_eq!(names(b"a"), Ok([&b"a"[..]].into()));
        assert_eq!(names(b"data/f 1/x.y"), Ok([&b"data"[..], b"f 1", b"x.y"].into()));
        assert_eq!(names("ö/…".as_bytes()), Ok(["ö".as_bytes(), "…".as_bytes()].into()));
        assert_eq!(names(&[b'x'; NAME_MAX]).unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_path_says_why() {
        let cases: [(&[u8], BadName); 12] = [
            (b"", BadName::Empty),
            (b"/a", BadName::Absolute),
            (b"a//b", BadName::Empty),
            (b"a/", BadName::Empty),
            (b".", BadName::Dotted),
            (b"a/..", BadName::Dotted),
            (b"a/./b", BadName::Dotted),
            (b"a\0", BadName::Zero),
            (b"a/\xff", BadName::NotUtf8),
            (b"\xc3/\xb6", BadName::NotUtf8),
            (&[b'x'; NAME_MAX + 1], BadName::TooLong),
            (&[b'x'; PATH_MAX + 1], BadName::PathTooLong),
        ];
        for (path, bad) in cases {
            assert_eq!(names(path), Err(bad), "{:?}", std::string::String::from_utf8_lossy(path));
        }
    }
}
