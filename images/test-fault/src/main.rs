//! Programs that do what no program may: each ends with its own fault, or with nothing gained, and nothing else stops.
//!
//! [`cases`] is the table: every instruction that ring 3 may not execute, every exception it can raise, flags, stack
//! pointers and segments. What can be counted (`int n`, selectors, ports, model-specific registers) is tried through.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; tests touch mapped memory by address")]

mod cases;
mod ends;
mod ranges;

use cases::{Case, LIVES, ROWS};
use corey_libos_rt::vm::Ended;
use corey_libos_rt::{Process, Status, entry};
use corey_libos_test::{Fixture, Suite};

entry!(main);

/// Starts cases on the other cores, one after the other.
struct Runner<'a> {
    process: &'a Process,
    fixture: Fixture,
    next: u16,
}

impl Runner<'_> {
    /// Runs `entry(arg)` on the next core. `Err` when that did not start.
    fn run(&mut self, entry: u64, arg: u64) -> Result<Option<Ended>, corey_abi::Error> {
        let others = self.process.info.header.cores as u16 - 1;
        let core = 1 + self.next % others;
        self.next = self.next.wrapping_add(1);
        let shares = [self.process.boot, self.process.console];
        let remote = self.fixture.start_with(self.process, core, entry, arg, &shares, &mut |_| Ok(()))?;
        let ended = remote.wait();
        remote.core.release();
        Ok(ended)
    }
}

/// Whether `ended` is among `accepted`: a bit for each vector, [`LIVES`] for an end of its own.
fn is_among(ended: Option<Ended>, accepted: u32, address: Option<u64>) -> bool {
    match ended {
        Some(Ended::Fault(vector, at)) => {
            accepted & 1 << (vector & 31) != 0 && (vector != 14 || address.is_none_or(|a| a == at))
        }
        Some(Ended::Halted(ends::VALUE)) => accepted & LIVES != 0,
        _ => false,
    }
}

fn main(mut process: Process) -> Status {
    let mut suite = Suite::new(&process, "fault");
    if process.info.header.cores < 2 {
        suite.check(
            "programs that fault",
            true,
            "one core: a fault would end the run; tested with two and more",
        );
        return suite.finish();
    }
    let Some(fixture) = suite.works("a status page", Fixture::new(&mut process)) else {
        return suite.finish();
    };
    let page = ranges::code_page(&mut suite, &mut process);
    let edge = ranges::edge(&mut suite, &mut process);
    let forged = ranges::forged_table(&mut suite, &mut process);
    let mut runner = Runner { process: &process, fixture, next: 0 };
    for Case { name, entry, arg, accepted, address } in ROWS.iter().chain(&cases::addresses()) {
        let ended = runner.run(*entry as usize as u64, *arg);
        let good = ended.is_ok_and(|ended| is_among(ended, *accepted, *address));
        suite.check(name, good, format_args!("{ended:?}"));
    }
    cases::by_feature(&mut suite, &mut runner);
    if let Some(page) = page {
        ranges::interrupts(&mut suite, &mut runner, page);
    }
    ranges::selectors(&mut suite, &mut runner);
    if forged.is_some() {
        ranges::forged_gates(&mut suite, &mut runner);
    }
    ranges::ports(&mut suite, &mut runner);
    ranges::model_registers(&mut suite, &mut runner);
    if let Some(at) = edge {
        ranges::at_the_edge(&mut suite, &mut runner, at);
    }
    suite.finish()
}
