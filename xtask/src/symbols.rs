//! Function names from ELF files and kallsyms: the symbol table on the medium, the meter's names.

use std::path::Path;

use elf::ElfBytes;
use elf::endian::LittleEndian;

use crate::Result;

/// Functions of one or more images, sorted by address: address, whether it is only a label, name.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    functions: Vec<(u64, bool, String)>,
    /// Variables: address, size, name.
    data: Vec<(u64, u64, String)>,
}

impl Symbols {
    /// Adds the functions of an ELF file; each name gets `prefix` before it.
    pub(crate) fn add_elf(&mut self, path: &Path, prefix: &str) -> Result<()> {
        let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let file = ElfBytes::<LittleEndian>::minimal_parse(&bytes)?;
        let sections = file.section_headers().ok_or("an ELF file without sections")?;
        if let Some((table, names)) = file.symbol_table()? {
            for symbol in table.iter() {
                // Labels of assembly files have no type.
                let label = symbol.st_symtype() == elf::abi::STT_NOTYPE;
                let code = sections
                    .get(usize::from(symbol.st_shndx))
                    .is_ok_and(|s| s.sh_flags & u64::from(elf::abi::SHF_EXECINSTR) != 0);
                let name = names.get(symbol.st_name as usize)?;
                if symbol.st_symtype() == elf::abi::STT_OBJECT {
                    let name = format!("{prefix}{:#}", rustc_demangle::demangle(name));
                    self.data.push((symbol.st_value, symbol.st_size, name));
                }
                if code && !name.is_empty() && (label || symbol.st_symtype() == elf::abi::STT_FUNC) {
                    let name = format!("{prefix}{:#}", rustc_demangle::demangle(name));
                    self.functions.push((symbol.st_value, label, name));
                }
            }
        }
        self.sort();
        Ok(())
    }

    /// Adds lines `address type name`, as in Linux's kallsyms.
    pub(crate) fn add_kallsyms<'a>(&mut self, lines: impl Iterator<Item = &'a str>) {
        for line in lines {
            let mut words = line.split_whitespace();
            if let (Some(address), Some(kind), Some(name)) = (words.next(), words.next(), words.next())
                && let Ok(address) = u64::from_str_radix(address, 16)
                && kind.eq_ignore_ascii_case("t")
            {
                self.functions.push((address, false, name.to_owned()));
            }
        }
        self.sort();
    }

    /// The function that `address` lies in.
    pub(crate) fn name(&self, address: u64) -> Option<&str> {
        let after = self.functions.partition_point(|(start, ..)| *start <= address);
        self.functions.get(after.checked_sub(1)?).map(|(.., name)| name.as_str())
    }

    /// The variable that `address` lies in.
    pub(crate) fn data(&self, address: u64) -> Option<&str> {
        let inside = |(start, size, _): &&(u64, u64, String)| {
            address.checked_sub(*start).is_some_and(|offset| offset < *size)
        };
        self.data.iter().find(inside).map(|(.., name)| name.as_str())
    }

    /// The contents of `data/kernel.sym`.
    pub(crate) fn kernel_file(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let symbols = self.functions.iter().map(|(address, _, name)| (*address, name.as_str()));
        corey_lib_archive::symbols::write(symbols, |part| bytes.extend_from_slice(part));
        bytes
    }

    fn sort(&mut self) {
        self.functions.sort();
        self.functions.dedup_by_key(|(address, ..)| *address);
    }
}

#[cfg(test)]
mod tests {
    use super::Symbols;

    #[test]
    fn an_address_belongs_to_the_symbol_before_it() {
        let mut s = Symbols::default();
        s.add_kallsyms(["2000 t b", "1000 T a", "1800 d data"].into_iter());
        assert_eq!(s.name(0xfff), None);
        assert_eq!(s.name(0x1000), Some("a"));
        assert_eq!(s.name(0x1fff), Some("a"));
        assert_eq!(s.name(0x2000), Some("b"));
    }

    #[test]
    fn a_function_wins_over_a_label_at_its_address() {
        let mut s = Symbols {
            functions: vec![(0x10, true, "__start".into()), (0x10, false, "main".into())],
            data: vec![(0x100, 8, "counter".into())],
        };
        s.sort();
        assert_eq!(s.name(0x10), Some("main"));
        assert_eq!((s.data(0x107), s.data(0x108)), (Some("counter"), None));
    }

    #[test]
    fn the_program_itself_has_a_symbol_for_this_test() {
        let mut s = Symbols::default();
        s.add_elf(&std::env::current_exe().unwrap(), "x:").unwrap();
        assert!(s.functions.iter().any(|(.., n)| n.starts_with("x:") && n.contains("add_elf")));
    }
}
