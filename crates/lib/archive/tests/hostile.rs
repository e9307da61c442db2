//! Random and damaged bytes give answers, never panics.

use corey_lib_archive::{Archive, DataAt, Writer, symbols};
use proptest::prelude::*;

fn good_archive(files: &[(String, Vec<u8>)], data_at: DataAt) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(data_at, |part: &[u8]| bytes.extend_from_slice(part));
    for (name, data) in files {
        writer.file(name, 0o644, data);
    }
    writer.finish();
    bytes
}

fn files() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let data = prop::collection::vec(any::<u8>(), 0..300);
    prop::collection::vec(("[a-z]{1,40}", data), 0..6)
}

proptest! {
    #[test]
    fn random_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        address in any::<u64>(),
    ) {
        let _ = Archive::new(&bytes).check();
        let with_magic = [b"070701".as_slice(), &bytes].concat();
        let _ = Archive::new(&with_magic).check();
        let table = [b"CRYSYM01".as_slice(), &bytes].concat();
        let _ = symbols::lookup(&table, symbols::BASE.wrapping_add(address & 0xffff_ffff));
        let _ = symbols::lookup(&bytes, address);
    }

    #[test]
    fn whole_archives_read_back(files in files(), page in any::<bool>()) {
        let bytes = good_archive(&files, if page { DataAt::Page } else { DataAt::Word });
        let read: Vec<_> = Archive::new(&bytes)
            .files()
            .map(|file| file.map(|f| (f.name.to_owned(), f.data.to_vec())))
            .collect::<Result<_, _>>()
            .unwrap();
        prop_assert_eq!(read, files);
    }

    #[test]
    fn damaged_archives_answer(files in files(), at in any::<prop::sample::Index>(), new in any::<u8>()) {
        let mut bytes = good_archive(&files, DataAt::Word);
        let at = at.index(bytes.len());
        bytes[at] = new;
        // Every file that is still reported lies inside the archive.
        for file in Archive::new(&bytes).files().flatten() {
            prop_assert!(file.offset + file.data.len() <= bytes.len());
        }
    }

    #[test]
    fn cut_archives_are_refused(files in files(), at in any::<prop::sample::Index>()) {
        let bytes = good_archive(&files, DataAt::Word);
        // The trailer's own padding may be missing, nothing else.
        let cut = at.index(bytes.len() - 3);
        prop_assert!(Archive::new(&bytes[..cut]).check().is_err());
    }

    #[test]
    fn every_symbol_is_found(offsets in prop::collection::btree_set(0_u64..1 << 31, 1..50)) {
        let names: Vec<_> = offsets.iter().map(|o| (symbols::BASE + o, format!("f{o}"))).collect();
        let mut table = Vec::new();
        symbols::write(names.iter().map(|(a, n)| (*a, n.as_str())), |p| table.extend_from_slice(p));
        for (address, name) in &names {
            prop_assert_eq!(symbols::lookup(&table, *address), Some((name.as_str(), 0)));
        }
    }
}
