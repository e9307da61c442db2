//! The command-line words `bench`, `cores`, `iters` and `turn`.

use core::fmt;

use crate::table::{BENCHMARKS, Benchmark, DEFAULT_TURN_ITERS, MAX_VARIANTS, id};

/// Most entries of `cores=`.
pub const MAX_CORE_COUNTS: usize = 16;

/// The keys [`Request::take`] knows.
pub const KEYS: [&str; 4] = ["bench", "cores", "iters", "turn"];

/// Core counts to run at, in the order given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreList {
    counts: [u32; MAX_CORE_COUNTS],
    len: usize,
}

impl CoreList {
    /// Returns the counts.
    pub fn as_slice(&self) -> &[u32] {
        self.counts.get(..self.len).unwrap_or(&[])
    }

    /// Returns 1, 2, 4 … and `processors` itself.
    pub fn doubling_to(processors: u32) -> Self {
        let mut list = Self::default();
        let mut count = 1;
        while count < processors && list.push(count) {
            count *= 2;
        }
        list.push(processors);
        list
    }

    fn push(&mut self, count: u32) -> bool {
        match self.counts.get_mut(self.len) {
            Some(place) => {
                *place = count;
                self.len += 1;
                true
            }
            None => false,
        }
    }
}

/// Why a word is refused; its text says what is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadWord<'a> {
    /// No benchmark has this name.
    Benchmark(&'a str),
    /// The benchmark has no such variant.
    Variant(&'static Benchmark, &'a str),
    /// Not a list of core counts.
    Cores(&'a str),
    /// A core count the machine does not have: asked, present.
    TooManyCores(u32, u32),
    /// Not a positive number of operations.
    Iters(&'a str),
    /// Not 0 or 1.
    Turn(&'a str),
}

impl fmt::Display for BadWord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Benchmark(name) => {
                write!(f, "bench={name}: no such benchmark; valid:")?;
                list_existing(f)
            }
            Self::Variant(bench, variant) => {
                write!(f, "bench={}/{variant}: no such variant; valid:", bench.name)?;
                list_variants(f, bench)
            }
            Self::Cores(text) => write!(
                f,
                "cores={text}: want 1 to {MAX_CORE_COUNTS} positive numbers with commas, as in cores=1,2,4"
            ),
            Self::TooManyCores(asked, present) => {
                write!(f, "cores={asked}: valid: 1 to {present}, the processors of this machine")
            }
            Self::Iters(text) => {
                write!(f, "iters={text}: want a number of operations per core, 1 to 1000000000")
            }
            Self::Turn(text) => write!(f, "turn={text}: valid: 0 1"),
        }
    }
}

fn list_existing(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for bench in &BENCHMARKS {
        write!(f, " {}", bench.name)?;
        for (n, variant) in bench.variants.iter().enumerate() {
            write!(f, "{}{variant}", if n == 0 { "[/" } else { "|" })?;
        }
        f.write_str("]")?;
    }
    Ok(())
}

fn list_variants(f: &mut fmt::Formatter<'_>, bench: &Benchmark) -> fmt::Result {
    bench.variants.iter().try_for_each(|variant| write!(f, " {}/{variant}", bench.name))
}

/// What to run. Benchmarks run in the order of their numbers whatever order they are named in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request {
    selected: [[bool; MAX_VARIANTS]; BENCHMARKS.len()],
    cores: CoreList,
    iters: Option<u64>,
    /// Whether cores take turns.
    pub turn: bool,
}

impl Request {
    /// Takes one `key=value` word; `Ok(false)` when the key is not one of [`KEYS`].
    ///
    /// # Errors
    ///
    /// A value that means nothing is a [`BadWord`].
    pub fn take<'a>(&mut self, key: &str, value: &'a str) -> Result<bool, BadWord<'a>> {
        match key {
            "bench" => value.split(',').try_for_each(|item| self.select(item))?,
            "cores" => self.cores = parse_cores(value).ok_or(BadWord::Cores(value))?,
            "iters" => {
                let iters = value.parse().ok().filter(|n| (1..=1_000_000_000).contains(n));
                self.iters = Some(iters.ok_or(BadWord::Iters(value))?);
            }
            "turn" => {
                self.turn = match value {
                    "0" => false,
                    "1" => true,
                    _ => return Err(BadWord::Turn(value)),
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn select<'a>(&mut self, item: &'a str) -> Result<(), BadWord<'a>> {
        let (name, variant) = match item.split_once('/') {
            Some((name, variant)) => (name, Some(variant)),
            None => (item, None),
        };
        let bench = Benchmark::by_name(name).ok_or(BadWord::Benchmark(name))?;
        let marks = &mut self.selected[bench.number as usize - 1];
        match variant {
            None => marks.iter_mut().zip(bench.variants).for_each(|(mark, _)| *mark = true),
            Some(variant) => {
                let position = bench.variants.iter().position(|v| *v == variant);
                marks[position.ok_or(BadWord::Variant(bench, variant))?] = true;
            }
        }
        Ok(())
    }

    /// Says whether core counts were named.
    pub fn names_cores(&self) -> bool {
        self.cores.len != 0
    }

    /// Says whether any benchmark was named.
    pub fn names_benchmarks(&self) -> bool {
        self.selected.iter().flatten().any(|s| *s)
    }

    /// Returns the benchmarks and variant numbers to run: all of them when none was named.
    pub fn selection(&self) -> impl Iterator<Item = (&'static Benchmark, u32)> + '_ {
        let all = !self.names_benchmarks();
        BENCHMARKS.iter().zip(&self.selected).flat_map(move |(bench, marks)| {
            let wanted = move |n: &u32| all || marks[*n as usize];
            (0..bench.variants.len() as u32).filter(wanted).map(move |n| (bench, n))
        })
    }

    /// Returns the marker ids to run, in order.
    pub fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.selection().map(|(bench, variant)| id(bench.number, variant))
    }

    /// Returns the core counts to run at on a machine with `processors` processors.
    ///
    /// # Errors
    ///
    /// A count above `processors` is [`BadWord::TooManyCores`].
    pub fn cores(&self, processors: u32) -> Result<CoreList, BadWord<'static>> {
        if self.cores.as_slice().is_empty() {
            return Ok(CoreList::doubling_to(processors));
        }
        match self.cores.as_slice().iter().find(|c| **c > processors) {
            Some(&asked) => Err(BadWord::TooManyCores(asked, processors)),
            None => Ok(self.cores),
        }
    }

    /// Returns the operations per core of a variant of `bench`.
    pub fn iters(&self, bench: &Benchmark, variant: u32) -> u64 {
        self.iters.unwrap_or(if self.turn { DEFAULT_TURN_ITERS } else { bench.default_iters(variant) })
    }
}

fn parse_cores(value: &str) -> Option<CoreList> {
    let mut list = CoreList::default();
    for item in value.split(',') {
        let count: u32 = item.parse().ok().filter(|n| *n > 0)?;
        if !list.push(count) {
            return None;
        }
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(words: &[(&'static str, &'static str)]) -> Result<Request, BadWord<'static>> {
        let mut request = Request::default();
        for (key, value) in words {
            assert!(request.take(key, value)?);
        }
        Ok(request)
    }

    #[test]
    fn without_words_everything_that_exists_runs_at_doubling_core_counts() {
        let request = request(&[]).unwrap();
        let ids: Vec<u32> = request.ids().collect();
        assert_eq!(
            ids,
            [
                16, 17, 32, 33, 34, 48, 49, 64, 65, 80, 81, 82, 83, 84, 85, 96, 97, 98, 99, 100, 112, 128,
                144, 145, 146, 160, 161, 162, 163, 176, 177, 178, 179, 192, 208, 209, 210, 224, 240, 241
            ]
        );
        assert_eq!(request.cores(6).unwrap().as_slice(), [1, 2, 4, 6]);
        assert_eq!(request.cores(1).unwrap().as_slice(), [1]);
        assert_eq!(request.cores(256).unwrap().as_slice().len(), 9);
        assert_eq!(request.iters(&BENCHMARKS[1], 0), 4096);
        assert_eq!([3, 4].map(|variant| request.iters(&BENCHMARKS[4], variant)), [20_000, 1250]);
    }

    #[test]
    fn names_variants_cores_iters_and_turn_are_taken() {
        let words = [("bench", "pagepass/separate,null"), ("cores", "1,4"), ("turn", "1")];
        let request = request(&words).unwrap();
        assert_eq!(request.ids().collect::<Vec<_>>(), [16, 17, 49]);
        assert_eq!(request.cores(4).unwrap().as_slice(), [1, 4]);
        assert_eq!(request.iters(&BENCHMARKS[0], 0), 1000);
        assert_eq!(
            self::request(&[("bench", "run,tcp/shared")]).unwrap().ids().collect::<Vec<_>>(),
            [82, 128]
        );
    }

    #[test]
    fn other_keys_are_left_to_others() {
        assert_eq!(Request::default().take("log", "debug"), Ok(false));
    }

    #[test]
    fn refusals_list_what_is_valid() {
        let text = |key, value| request(&[(key, value)]).unwrap_err().to_string();
        assert_eq!(
            text("bench", "nul"),
            "bench=nul: no such benchmark; valid: null[/current|nbytes] \
             memclone[/interior|shared|private] pagepass[/interior|separate] pread[/same|own] \
             tcp[/kernelcore|stack|shared|echo|bulk-in|bulk-out] vm[/private|interior|cow|object|interior-64] cfork[/default] run[/default] heap[/local|prodcons|larson] \
             fig1[/latency|lock|lockcontended|shootdown] \
             pwrite[/full-own|full-same|part-own|part-same] open[/own] rwlock[/ours|word|ticket] large[/private] ring[/depth-1|depth-32]"
        );
        assert_eq!(
            text("bench", "pagepass/both"),
            "bench=pagepass/both: no such variant; valid: pagepass/interior pagepass/separate"
        );
        assert_eq!(text("turn", "yes"), "turn=yes: valid: 0 1");
        for bad in ["", "0", "1,,2", "-1", "x", "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1"] {
            assert!(text("cores", bad).contains("as in cores=1,2,4"));
        }
        for bad in ["", "0", "1000000001", "1k"] {
            assert!(text("iters", bad).contains("1 to 1000000000"));
        }
        let error = request(&[("cores", "2,8")]).unwrap().cores(4).unwrap_err();
        assert_eq!(error.to_string(), "cores=8: valid: 1 to 4, the processors of this machine");
    }
}
