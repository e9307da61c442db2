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
pub(crate) fn first(path: &[u8]) -> Result<(Name<'_>, Option<&[u8]>), BadName> {
    let mut hash = 0x811c_9dc5_u32;
    let (mut all, mut length) = (0, path.len());
    for (at, byte) in path.iter().enumerate() {
        match byte {
            b'/' => {
                length = at;
                break;
            }
            0 => return Err(BadName::Zero),
            _ => {}
        }
        // FNV-1a.
        hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        all |= byte;
    }
    let (bytes, rest) = path.split_at_checked(length).unwrap_or((path, &[]));
    match bytes {
        [] => return Err(BadName::Empty),
        b"." | b".." => return Err(BadName::Dotted),
        _ if length > NAME_MAX => return Err(BadName::TooLong),
        _ if all >= 0x80 && core::str::from_utf8(bytes).is_err() => return Err(BadName::NotUtf8),
        _ => {}
    }
    // The low bits of a product depend on few of the name's.
    Ok((Name { bytes, hash: hash ^ hash >> 15 }, rest.split_first().map(|(_, rest)| rest)))
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
