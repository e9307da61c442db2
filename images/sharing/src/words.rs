//! The command line.

use core::fmt;
use corey_lib_sharing::{Case, PAIR, Part, cores};

/// Words that others read.
const OTHERS: [&str; 3] = ["init", "log", "pti"];

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    parts: [bool; Part::ALL.len()],
    /// Of the shared part, only this tenth.
    pub(crate) seed: Option<u64>,
    /// Measured rounds.
    pub(crate) iters: u64,
    /// Measured rounds of pairs with a heavy case.
    pub(crate) heavy: u64,
    /// Cores that work at once.
    pub(crate) workers: u32,
    /// Only pairs with this case.
    pub(crate) only: Option<Case>,
}

/// A word that means nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bad<'a> {
    Word(&'a str),
    Workers { present: u64, needed: u32, workers: u32 },
}

impl fmt::Display for Bad<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => write!(
                f,
                "{word}: unknown word or value; valid: part=private,shared,alone,planted,ring,planted-ring seed=N \
                 iters=N heavy=N workers=N (by ring 2) case=NAME"
            ),
            Self::Workers { present, needed, workers } => {
                write!(f, "workers={workers}: that takes {needed} processors, here are {present}")
            }
        }
    }
}

impl Words {
    pub(crate) fn read(line: &str, present: u64) -> Result<Self, Bad<'_>> {
        let mut words =
            Self { parts: [false; Part::ALL.len()], seed: None, iters: 8, heavy: 2, workers: 2, only: None };
        for word in line.split_whitespace() {
            let (key, value) = word.split_once('=').ok_or(Bad::Word(word))?;
            let number = || value.parse::<u64>().ok().filter(|n| *n <= 1 << 20).ok_or(Bad::Word(word));
            match key {
                "part" => {
                    for name in value.split(',') {
                        let part = Part::by_name(name).ok_or(Bad::Word(word))?;
                        words.parts[part as usize] = true;
                    }
                }
                "seed" => words.seed = Some(number()?),
                "iters" => words.iters = number()?,
                "heavy" => words.heavy = number()?,
                "workers" => words.workers = number()? as u32,
                "case" => words.only = Some(Case::by_name(value).ok_or(Bad::Word(word))?),
                _ if OTHERS.contains(&key) => {}
                _ => return Err(Bad::Word(word)),
            }
        }
        let pairs = words.parts.iter().zip(Part::ALL).any(|(asked, part)| *asked && part != Part::Alone);
        let workers = words.workers;
        // What is not measured by pairs can be by one alone; a kernel core's place is that for a pair.
        let many = match (words.is_by_ring(), pairs) {
            (true, _) => workers == PAIR,
            (false, true) => workers >= PAIR,
            (false, false) => workers >= 1,
        };
        let needed = cores(workers, words.is_by_ring());
        let fits = many && u64::from(needed) <= present;
        if fits { Ok(words) } else { Err(Bad::Workers { present, needed, workers }) }
    }

    /// Whether workers have rings.
    pub(crate) fn is_by_ring(&self) -> bool {
        Part::ALL.into_iter().any(|part| part.is_by_ring() && self.has(part))
    }

    /// Whether `part` is asked for.
    pub(crate) fn has(&self, part: Part) -> bool {
        self.parts[part as usize]
    }
}
