//! `docs/shared.md`: every lock of the kernel, from the source. Anything a second core may lock is a `Shared<T>`.

use std::fmt::Write as _;
use std::path::Path;

use crate::{Result, build, paths};

const HEAD: &str = "\
<!-- Written by `cargo xtask manual` from crates/kernel; change it there. -->

# What a second core may lock

Anything of the kernel that another core may lock is a `Shared<T>` (`crates/lib/sync`): a value, its lock, its home core and its name.
This is all of it. A lock is taken only while none of the same or a higher place is held; none is held while waiting for another core, and
whoever waits for one serves its mailbox.

Place 4 and 5 have no `Shared<T>`: a leaf page table's lock lies in its frame's descriptor (`kernel/mem`, `lock_leaf`), page slots are
claimed with one compare-and-swap (`kernel/mem`, `PageSlot`).

| place | name | type | crate | what it guards |
|---|---|---|---|---|
";

/// A lock, as its declaration says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lock {
    place: u32,
    name: String,
    holds: String,
    folder: String,
    what: String,
}

/// The page.
///
/// # Errors
///
/// A `Shared<` whose declaration does not say its place.
pub(crate) fn text() -> Result<String> {
    let mut locks = Vec::new();
    let kernel = paths::root().join("crates/kernel");
    for entry in std::fs::read_dir(&kernel)? {
        let folder = entry?.path();
        let mut source = String::new();
        for file in rust_files(&folder.join("src"))? {
            source += &String::from_utf8(build::read(&file)?)?;
        }
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        locks.extend(locks_of(&format!("kernel/{name}"), &source)?);
    }
    locks.sort();
    let mut text = HEAD.to_owned();
    for Lock { place, name, holds, folder, what } in locks {
        writeln!(text, "| {place} | `{name}` | `Shared<{holds}>` | `{folder}` | {what} |")?;
    }
    Ok(text)
}

fn rust_files(dir: &Path) -> Result<Vec<std::path::PathBuf>> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let entries: std::io::Result<Vec<_>> = std::fs::read_dir(dir)?.map(|e| e.map(|e| e.path())).collect();
    let mut files: Vec<_> =
        entries?.into_iter().filter(|p| p.extension().is_some_and(|e| e == "rs")).collect();
    files.sort();
    Ok(files)
}

/// The declarations of `source`: fields and tuple structs.
fn locks_of(folder: &str, source: &str) -> Result<Vec<Lock>> {
    let mut locks = Vec::new();
    let lines: Vec<&str> = source.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let line = line.trim();
        let declares = line.contains("Shared<") && (line.ends_with(',') || line.starts_with("pub struct"));
        // Borrowed from a function's signature or in a comment, it is none.
        if !declares || line.starts_with("//") || line.contains("fn ") {
            continue;
        }
        let holds = line.split("Shared<").nth(1).and_then(|rest| rest.split('>').next()).unwrap_or_default();
        let docs = lines[..number]
            .iter()
            .rev()
            .map(|l| l.trim())
            .take_while(|l| l.starts_with("//") || l.starts_with('#'));
        let said = docs.filter_map(|l| l.strip_prefix("/// Lock order ")).find_map(|text| {
            let (place, rest) = text.split_once(" (`")?;
            let (name, what) = rest.split_once("`): ")?;
            Some((place.parse().ok()?, name.to_owned(), what.to_owned()))
        });
        let (place, name, what) = said.ok_or_else(|| {
            format!("{folder}: `{line}` does not say its place; write `/// Lock order N (`name`): what it guards` above it")
        })?;
        if !source.contains(&format!("\"{name}\"")) {
            return Err(format!("{folder}: no Shared::new is named \"{name}\"").into());
        }
        locks.push(Lock { place, name, holds: holds.to_owned(), folder: folder.to_owned(), what });
    }
    let made = source.matches("Shared::new(").count();
    if made != locks.len() {
        return Err(format!("{folder}: {made} Shared::new for {} declarations", locks.len()).into());
    }
    Ok(locks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lock_of_the_kernel_is_on_the_page() {
        let text = text().unwrap();
        for name in ["share", "tree", "segment.mappings", "slab", "limbo", "stock", "console"] {
            assert!(text.contains(&format!("| `{name}` |")), "{name}");
        }
    }

    #[test]
    fn a_lock_that_does_not_say_its_place_is_refused() {
        let silent = "struct S {\n    /// A lock.\n    a: Shared<A>,\n}\nShared::new(0, \"a\", A)";
        assert!(locks_of("kernel/x", silent).unwrap_err().to_string().contains("does not say its place"));
        let said = silent.replace("/// A lock.", "/// Lock order 3 (`a`): a thing.");
        let found = locks_of("kernel/x", &said).unwrap();
        assert_eq!((found[0].place, found[0].holds.as_str(), found[0].what.as_str()), (3, "A", "a thing."));
        let renamed = said.replace("\"a\"", "\"b\"");
        assert!(locks_of("kernel/x", &renamed).is_err());
    }

    #[test]
    fn a_lock_that_is_made_and_not_declared_is_refused() {
        assert!(locks_of("kernel/x", "let a = Shared::new(0, \"a\", 1);").is_err());
    }
}
