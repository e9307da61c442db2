//! Benchmarks on the processors of this machine, without a guest.
//!
//! **Paper.** §2, Figure 1: how long a line takes from one core to another, by their distance. An emulator has
//! neither caches nor distances, so these figures come from here; so do times of what of ours also runs as a
//! Linux program, beside Linux's own.
//!
//! **Invariants.** Every measuring thread is bound to one processor. A record is the median of many rounds and
//! their lowest and highest tenth. Rounds of ours and of Linux's own alternate in the same threads.
//!
//! **Sharing.** What is measured is sharing: two threads, or all of them, and the lines between them.
//!
//! **Testing.** Statistics and arguments are unit-tested; `cargo xtask test --only bench` runs it once.
#![allow(unsafe_code, reason = "affinity, mmap and munmap; locks of the C library; blocks are given back")]

mod chunks;
mod files;
mod heap;
mod host;
mod latency;
mod lock;
mod pairs;
mod ring;
mod rounds;
mod rwlock;
mod shootdown;

use corey_lib_bench::table::hosted_names;
use corey_lib_bench::{Benchmark, CoreList, Request};

use crate::host::Host;
use crate::rounds::Heading;

/// What is run unless the words say otherwise: rounds of every figure.
const ROUNDS: u64 = 201;

fn main() {
    if let Err(text) = run(std::env::args().skip(1)) {
        eprintln!("hosted: {text}");
        std::process::exit(2);
    }
}

/// Takes the words of the guests: `bench=fig1/latency cores=1,2 iters=ROUNDS`.
fn run(words: impl Iterator<Item = String>) -> Result<(), String> {
    let words: Vec<String> = words.collect();
    let mut request = Request::default();
    let mut rounds = ROUNDS;
    for word in &words {
        let (key, value) = word.split_once('=').ok_or_else(|| format!("{word}: want key=value"))?;
        if !request.take(key, value).map_err(|bad| bad.to_string())? {
            return Err(format!("{key}: unknown word; valid: bench cores iters"));
        }
        if key == "iters" {
            rounds = value.parse().map_err(|_| format!("iters={value}: not a number"))?;
        }
    }
    let host = Host::find()?;
    let present = u32::try_from(host.processors.len()).unwrap_or(u32::MAX);
    let counts: CoreList = request.cores(present).map_err(|bad| bad.to_string())?;
    let most = counts.as_slice().iter().copied().max().unwrap_or(1);
    for (bench, variant) in request.selection() {
        let variant = bench.variants.get(variant as usize).copied().unwrap_or("?");
        let cases = match bench.name {
            "fig1" => {
                for &cores in counts.as_slice() {
                    fig1(&host, bench, variant, (cores, most), rounds)?;
                }
                continue;
            }
            "heap" => heap::cases(variant),
            "rwlock" => rwlock::cases(variant),
            "pread" => files::reads(variant),
            "pwrite" => files::writes(variant),
            "ring" => ring::cases(variant),
            _ if request.names_benchmarks() => {
                let valid = hosted_names().collect::<Vec<_>>().join(" ");
                return Err(format!("{}: has no hosted form; valid: {valid}", bench.name));
            }
            _ => continue,
        };
        let counts: Vec<u32> = counts
            .as_slice()
            .iter()
            .copied()
            .filter(|n| bench.name != "ring" || *n <= ring::PROCESSORS)
            .collect();
        for case in cases {
            pairs::run(&host, bench.name, &case, &counts, rounds)?;
        }
    }
    Ok(())
}

fn fig1(
    host: &Host,
    bench: &Benchmark,
    variant: &'static str,
    counts: (u32, u32),
    rounds: u64,
) -> Result<(), String> {
    let (cores, most) = counts;
    let report = |times: &mut Vec<f64>, operations: u64, pair: Option<(u32, u32)>| {
        let heading = Heading { system: "host", bench: bench.name, variant, cores, operations };
        let more = pair.map_or_else(String::new, |(from, to)| rounds::pair(host, from, to));
        println!("{}", rounds::record(host, &heading, times, &more));
    };
    match variant {
        // Pairs are a matter of the largest count; a line of one's own of the count 1.
        "latency" if cores == 1 => {
            report(&mut latency::own(host, rounds)?, latency::LINES as u64, Some((0, 0)));
        }
        "latency" if cores == most => {
            for reader in 0..cores {
                for writer in (0..cores).filter(|writer| *writer != reader) {
                    let mut times = latency::between(host, reader, writer, rounds)?;
                    report(&mut times, latency::LINES as u64, Some((writer, reader)));
                }
            }
        }
        "latency" => {}
        "lock" => report(&mut lock::uncontended(host, cores, rounds)?, lock::OPERATIONS, None),
        "lockcontended" => report(&mut lock::contended(host, cores, rounds)?, lock::OPERATIONS, None),
        _ => report(&mut shootdown::unmap(host, cores, rounds)?, 1, None),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    fn refused(words: &[&str]) -> String {
        super::run(words.iter().map(|w| (*w).to_owned())).unwrap_err()
    }

    #[test]
    fn what_has_no_hosted_form_says_what_has() {
        assert_eq!(
            refused(&["bench=null"]),
            "null: has no hosted form; valid: pread heap fig1 pwrite rwlock ring"
        );
        assert!(refused(&["bench=fig2"]).contains("no such benchmark"));
        assert!(refused(&["speed=1"]).contains("valid: bench cores iters"));
    }
}
