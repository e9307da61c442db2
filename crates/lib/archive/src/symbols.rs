//! The kernel's symbol table, `data/kernel.sym`: names for backtraces.
//!
//! A boot loader does not load an ELF's own table. All numbers are little-endian:
//!
//! | offset | size | content |
//! |---|---|---|
//! | 0 | 8 | `CRYSYM01` |
//! | 8 | 4 | number of symbols |
//! | 12 | 4 | bytes of names |
//! | 16 | 8 × number | address − [`BASE`], then offset of the name; ascending addresses |
//! | 16 + 8 × number | | names, demangled, each ended by a NUL |
//!
//! A name belongs to every address from its own up to the next symbol's.

/// Where the kernel's higher half starts; tables hold offsets from here.
pub const BASE: u64 = 0xffff_ffff_8000_0000;

/// The path in the archive.
pub const PATH: &str = "data/kernel.sym";

const MAGIC: &[u8] = b"CRYSYM01";
const HEADER: usize = 16;
const ROW: usize = 8;

/// Returns the name of the function that `address` lies in and the offset of `address` in it.
///
/// `None` when it lies before every function or below [`BASE`], or `table` is not a symbol table.
/// Costs a binary search.
pub fn lookup(table: &[u8], address: u64) -> Option<(&str, u64)> {
    if !table.starts_with(MAGIC) {
        return None;
    }
    let wanted = u32::try_from(address.checked_sub(BASE)?).ok()?;
    let count = word(table, 8)? as usize;
    let names_at = HEADER.checked_add(count.checked_mul(ROW)?)?;
    let names_end = names_at.checked_add(word(table, 12)? as usize)?;
    let names = table.get(names_at..names_end)?;
    let row = |index: usize| HEADER.checked_add(index.checked_mul(ROW)?);
    let (mut low, mut high) = (0_usize, count);
    while low < high {
        let middle = low.midpoint(high);
        if word(table, row(middle)?)? <= wanted {
            low = middle.checked_add(1)?;
        } else {
            high = middle;
        }
    }
    let found = row(low.checked_sub(1)?)?;
    let offset = wanted.checked_sub(word(table, found)?)?;
    let name = names.get(word(table, found.checked_add(4)?)? as usize..)?;
    let length = name.iter().position(|b| *b == 0)?;
    let text = core::str::from_utf8(name.get(..length)?).ok()?;
    Some((text, u64::from(offset)))
}

fn word(table: &[u8], at: usize) -> Option<u32> {
    let bytes = table.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*bytes))
}

/// Writes the table of `symbols` to `sink`. Addresses below [`BASE`] are left
/// out; the others must ascend.
///
/// # Panics
///
/// When they do not, or the names have 4 GiB or more.
pub fn write<'a>(symbols: impl Iterator<Item = (u64, &'a str)> + Clone, mut sink: impl FnMut(&[u8])) {
    let inside = symbols.filter_map(|(address, name)| {
        let offset = u32::try_from(address.checked_sub(BASE)?).ok()?;
        Some((offset, name))
    });
    let (mut count, mut names, mut latest) = (0_u32, 0_u32, 0);
    let longer = |names: u32, name: &str| {
        let more = u32::try_from(name.len()).ok()?.checked_add(1)?;
        names.checked_add(more)
    };
    for (offset, name) in inside.clone() {
        assert!(latest <= offset, "{name}: symbols must ascend");
        latest = offset;
        count = count.checked_add(1).expect("fewer than 4 Gi symbols");
        names = longer(names, name).expect("names have less than 4 GiB");
    }
    sink(MAGIC);
    sink(&count.to_le_bytes());
    sink(&names.to_le_bytes());
    let mut name_at = 0_u32;
    for (offset, name) in inside.clone() {
        sink(&offset.to_le_bytes());
        sink(&name_at.to_le_bytes());
        name_at = longer(name_at, name).expect("as above");
    }
    for (_, name) in inside {
        sink(name.as_bytes());
        sink(&[0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(symbols: &[(u64, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(symbols.iter().copied(), |part| bytes.extend_from_slice(part));
        bytes
    }

    #[test]
    fn an_address_belongs_to_the_symbol_before_it() {
        let table = table(&[(BASE + 0x100, "first"), (BASE + 0x200, "second")]);
        assert_eq!(lookup(&table, BASE + 0xff), None);
        assert_eq!(lookup(&table, BASE + 0x100), Some(("first", 0)));
        assert_eq!(lookup(&table, BASE + 0x1ff), Some(("first", 0xff)));
        assert_eq!(lookup(&table, BASE + 0x205), Some(("second", 5)));
        assert_eq!(lookup(&table, 0x1000), None);
    }

    #[test]
    fn the_table_holds_only_the_higher_half() {
        let table = table(&[(0x10_0000, "low"), (BASE + 0x20, "f")]);
        assert_eq!(&table[..8], b"CRYSYM01");
        assert_eq!(&table[8..], [1, 0, 0, 0, 2, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, b'f', 0]);
    }

    #[test]
    fn a_cut_or_strange_table_has_no_names() {
        let whole = table(&[(BASE, "f")]);
        for length in 0..whole.len() {
            assert_eq!(lookup(&whole[..length], BASE), None, "{length} bytes");
        }
        assert_eq!(lookup(&table(&[]), BASE), None);
    }
}
