//! The contract between programs and the kernel: the system-call table and every layout both read.
//!
//! **Paper.** Figure 2 gives the 25 calls and their names; §3 what they mean. Numbers, argument words
//! and the calls from 0x100 on are ours, and frozen in `docs/syscalls.md`.
//!
//! **Invariants.** One row per call (`table.rs`): from it come the number, the trait its object crate
//! implements, the dispatcher, the stubs and the manual page. One closed [`Error`] enum. Layouts are
//! `repr(C)`, of fixed size, without pointers except into the caller's own address space.
//!
//! **Sharing.** None: no state.
//!
//! **Testing.** Unit tests below; every kernel test goes through [`dispatch`] and [`Client`].
//!
//! ## How a call travels
//!
//! `syscall` with the number in `rax` and argument words in `rdi rsi rdx r10 r8 r9`. On return `rax` is
//! result word 0 if it is ≥ 0 and minus the error's code if not; `rdx` is result word 1. `rcx` and `r11`
//! are overwritten, the other caller-saved registers are zero.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

mod cost;
mod layout;
mod macros;
mod plain;
mod table;
mod types;
mod words;

pub use cost::{ANY, COSTS, Cost, cost_of};
pub use layout::*;
pub use plain::Plain;
pub use table::*;
pub use types::{Error, Home, Id, Kind, Kinds, NAME_BYTES, Name, ObjRef, UserPtr};
pub use words::{Arg, Reader, Word, Writer};

/// Carries a raw call to a kernel: a trap, a ring, or a plain function call in host tests.
pub trait Transport {
    /// Makes call `number`, which reads the first `N` of `args`.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    fn call<const N: usize>(&mut self, number: u64, args: [Word; 6]) -> Result<[Word; 2], Error>;
}

/// A row of the table as data, for the manual.
#[derive(Clone, Copy, Debug)]
pub struct SyscallInfo {
    /// The call's number.
    pub number: u64,
    /// Its name, as in Figure 2.
    pub name: &'static str,
    /// The trait it belongs to.
    pub interface: &'static str,
    /// Doc text, line by line.
    pub doc: &'static [&'static str],
    /// Arguments as `name: Type`.
    pub args: &'static [&'static str],
    /// The result's type.
    pub ret: &'static str,
}

impl SyscallInfo {
    /// The call with this number.
    #[must_use]
    pub fn of(number: u64) -> Option<&'static Self> {
        SYSCALLS.iter().find(|row| row.number == number)
    }

    /// Whether it can be made over a ring: not if it sleeps, since the calls behind it would, too.
    #[must_use]
    pub const fn is_for_rings(number: u64) -> bool {
        number != number::core_wait
    }

    /// The errors it can answer: those its `# Errors` part names.
    pub fn errors(&self) -> impl Iterator<Item = Error> {
        let part = self.doc.iter().map(|line| line.trim()).skip_while(|line| *line != "# Errors").skip(1);
        let words = part.take_while(|line| !line.starts_with("# ")).flat_map(|line| line.split('`'));
        words.filter_map(|word| Error::ALL.iter().map(|(error, _)| *error).find(|e| e.name() == word))
    }
}

/// Encodes a result for the trap's two registers.
#[must_use]
#[inline(always)]
pub fn to_registers(result: Result<[Word; 2], Error>) -> [Word; 2] {
    match result {
        Ok(words) => words,
        Err(error) => [(error as u64).wrapping_neg(), 0],
    }
}

/// Decodes the trap's two registers.
///
/// # Errors
///
/// The error they carry; a code this library does not know reads as [`Error::Unsupported`].
#[inline(always)]
pub fn from_registers(words: [Word; 2]) -> Result<[Word; 2], Error> {
    if (words[0] as i64) < 0 {
        Err(Error::from_code(words[0].wrapping_neg()).unwrap_or(Error::Unsupported))
    } else {
        Ok(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_figure_2_is_complete() {
        let mut numbers: Vec<_> = SYSCALLS.iter().map(|s| s.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), SYSCALLS.len());
        assert_eq!(SYSCALLS.iter().filter(|s| s.number < 0x100).count(), 25);
    }

    #[test]
    fn every_row_says_what_it_costs() {
        for row in SYSCALLS {
            assert!(row.doc.iter().any(|l| l.trim() == "# Cost"), "{}: add a `# Cost` part", row.name);
        }
    }

    #[test]
    fn every_row_names_its_errors_once() {
        for row in SYSCALLS {
            assert!(row.doc.iter().any(|l| l.trim() == "# Errors"), "{}: add an `# Errors` part", row.name);
            let errors: Vec<_> = row.errors().collect();
            for error in &errors {
                let times = errors.iter().filter(|other| *other == error).count();
                assert_eq!(times, 1, "{}: {error:?}", row.name);
            }
        }
        let get_name = SYSCALLS.first().map(|row| row.errors().collect::<Vec<_>>());
        assert_eq!(get_name, Some(vec![Error::NotFound, Error::BadAddress]));
    }

    #[test]
    fn layouts_have_their_documented_sizes() {
        assert_eq!(size_of::<Mapping>(), 64);
        assert_eq!(size_of::<RunContext>(), 280);
        assert_eq!(size_of::<RunStatus>(), 16);
        assert_eq!(size_of::<AuditReport>(), 80);
        assert_eq!(size_of::<MachineInfo>(), 1152);
        assert_eq!(size_of::<UpcallFrame>(), 64);
        assert_eq!(size_of::<Locality>(), 408);
        assert_eq!(size_of::<CoreStat>(), 1544);
        assert_eq!(size_of::<RingConfig>(), 128);
    }

    #[test]
    fn the_closest_thing_in_common_says_how_near_cores_are() {
        let cache = |level, group| CacheInfo { level, line: 64, bytes: 1 << 15, group };
        let core = |package, thread_group, caches: [CacheInfo; 2]| {
            let [a, b] = caches;
            let caches = [a, b, CacheInfo::default(), CacheInfo::default()];
            Position { package, thread_group, node: 0, caches }
        };
        let own = core(0, 0, [cache(1, 0), cache(3, 0)]);
        assert_eq!(own.apart(&own), 0);
        assert_eq!(own.apart(&core(0, 1, [cache(1, 1), cache(3, 0)])), 3);
        assert_eq!(own.apart(&core(0, 4, [cache(1, 4), cache(3, 4)])), 5);
        // Caches that do not exist have nothing in common.
        assert_eq!(Position::unknown(0).apart(&Position::unknown(1)), 5);
        assert_eq!(own.apart(&core(8, 8, [cache(2, 0), cache(3, 8)])), 6);
    }

    #[test]
    fn errors_survive_the_registers() {
        for (error, _) in Error::ALL {
            assert_eq!(from_registers(to_registers(Err(*error))), Err(*error));
        }
        assert_eq!(from_registers(to_registers(Ok([7, 8]))), Ok([7, 8]));
    }
}
