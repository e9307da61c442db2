//! `cargo xtask manual`: the pages that are written from the source: the manual of system calls from the table in
//! `crates/abi`, and the list of locks.

use std::fmt::Write as _;

use corey_abi::{Error, SYSCALLS, cost_of};

use crate::{Result, paths, shared, soundness};

const HEAD: &str = "\
<!-- Written by `cargo xtask manual` from crates/abi; change it there. -->

# System calls

Once a number stands here it never changes.

**Calling.** `syscall` with the number in `rax` and argument words in `rdi rsi rdx r10 r8 r9`. An
`ObjRef` is two words, ⟨share, object⟩; every other argument is one. On return `rax` is result word
0 if it is ≥ 0 and minus the error's code if not; `rdx` is result word 1. `rcx` and `r11` are
overwritten, the other caller-saved registers are zero.

**Cost.** An *event* is one movement of a cache line between cores, as the line meter counts them. What stands there in numbers is
asserted: `cargo xtask sharing` runs every call alone on many cores and beside every other call.
";

/// Writes the pages, or with `check` compares.
///
/// # Errors
///
/// A stale file, when checking; a lock that does not say its place.
pub(crate) fn command(check: bool) -> Result<()> {
    for (name, text) in [("docs/syscalls.md", text()), ("docs/shared.md", shared::text()?)] {
        let path = paths::root().join(name);
        if !check {
            std::fs::create_dir_all(paths::root().join("docs"))?;
            std::fs::write(&path, text)?;
            println!("wrote {}", path.display());
        } else if std::fs::read_to_string(&path).unwrap_or_default() == text {
            println!("manual: {name} matches the source");
        } else {
            return Err(format!("{name} does not match the source; run: cargo xtask manual").into());
        }
    }
    if check { soundness::check() } else { Ok(()) }
}

fn text() -> String {
    let mut text = HEAD.to_owned();
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        writeln!(text, "{arguments}").expect("a string takes everything");
    };
    let mut rows: Vec<_> = SYSCALLS.iter().collect();
    rows.sort_by_key(|row| row.number);
    line(format_args!("\n| number | call | interface |\n|---|---|---|"));
    for row in &rows {
        let (number, name) = (row.number, row.name);
        line(format_args!("| `{number:#x}` | [`{name}`](#{name}) | {} |", row.interface));
    }
    line(format_args!("\n# Errors\n\n| code | error | meaning |\n|---|---|---|"));
    for (error, meaning) in Error::ALL {
        line(format_args!("| {} | `{error:?}` | {} |", *error as u64, meaning.trim()));
    }
    line(format_args!(
        "\nBelow, each call names every error it can answer; where it gives no reason, the meaning above is \
         the reason."
    ));
    for row in &rows {
        line(format_args!("\n# {}\n", row.name));
        let arguments = row.args.join(", ");
        let result = if row.ret == "()" { String::new() } else { format!(" -> {}", row.ret) };
        line(format_args!("```rust\n{:#x} {}({arguments}){result}\n```\n", row.number, row.name));
        for doc in row.doc {
            let doc = doc.strip_prefix(' ').unwrap_or(doc);
            match doc.strip_prefix("# ") {
                Some(part) => line(format_args!("**{part}**\n")),
                None => line(format_args!("{doc}")),
            }
        }
        if let Some(cost) = cost_of(row.name) {
            line(format_args!("\nOn private objects at most: {cost}."));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_call_and_every_error_has_its_place() {
        let text = super::text();
        for row in corey_abi::SYSCALLS {
            assert!(text.contains(&format!("\n# {}\n", row.name)), "{}", row.name);
        }
        assert_eq!(text.matches("**Cost**").count(), corey_abi::SYSCALLS.len());
        assert_eq!(text.matches("\nOn private objects at most: ").count(), corey_abi::SYSCALLS.len());
        assert!(text.contains("| 16 | `Unsupported` |"));
    }
}
