//! The timed region: which marker when, for every benchmark on both systems.

use crate::marker::Kind;
use crate::sync::Meeting;

const FORGET: u32 = Kind::Forget as u32;
const TRACK_ON: u32 = Kind::TrackOn as u32;
const TRACK_OFF: u32 = Kind::TrackOff as u32;
const BEGIN: u32 = Kind::Begin as u32;
const END: u32 = Kind::End as u32;
const REPORT: u32 = Kind::Report as u32;
/// Marker kind: a machine-wide operation begins.
pub const MACHINE_BEGIN: u32 = Kind::MachineBegin as u32;
/// Marker kind: it ends.
pub const MACHINE_END: u32 = Kind::MachineEnd as u32;

/// What the region needs from the machine it runs on.
pub trait Machine {
    /// Executes the marker instruction of benchmark variant `ID` and kind `KIND`.
    fn marker<const ID: u32, const KIND: u32>(&self);
    /// Says that this core is spinning.
    fn pause(&self);
    /// Returns nanoseconds on a clock all cores share.
    fn now_ns(&self) -> u64;
}

/// How the operations of the cores follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Each core for itself.
    Free,
    /// Each operation waits for the previous core's.
    Turns,
    /// As `Turns`, and each way from one core to the next is bracketed machine-wide.
    Hops,
}

/// One core's place in a region.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// What the cores share.
    pub meeting: &'a Meeting,
    /// This core, from 0 to `cores` − 1: a position in the benchmark, not a processor number.
    pub core: u32,
    /// Cores in the benchmark.
    pub cores: u32,
    /// Operations per core.
    pub iters: u64,
    /// How they follow each other.
    pub order: Order,
}

/// When a core began its first operation and ended its last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Nanoseconds at the start.
    pub start_ns: u64,
    /// Nanoseconds at the end.
    pub end_ns: u64,
}

/// Runs `operation` with indexes 0 … `iters` − 1 on this core as the region of variant `ID`.
///
/// Every core of the benchmark calls this. The order is: barrier; core 0: forget; barrier; each
/// core: on, then per operation [its turn] begin … end [next turn], off; barrier; core 0: report;
/// barrier, so that nobody starts other work while the report is made.
#[inline(always)]
pub fn run_region<const ID: u32, M: Machine>(
    machine: &M,
    place: Place<'_>,
    operation: impl FnMut(u64),
) -> Span {
    run_region_between::<ID, M>(machine, place, operation, |_| {})
}

/// As [`run_region`], and after each operation's end, before the next core's turn, `between`: what an operation
/// needs undone or waited for and should not be counted. Times include it.
#[inline(always)]
pub fn run_region_between<const ID: u32, M: Machine>(
    machine: &M,
    place: Place<'_>,
    mut operation: impl FnMut(u64),
    mut between: impl FnMut(u64),
) -> Span {
    let Place { meeting, core, cores, iters, order } = place;
    let pause = || machine.pause();
    let turns = &meeting.turns;
    turns.reset(core);
    meeting.barrier.wait(cores, pause);
    if core == 0 {
        machine.marker::<ID, FORGET>();
    }
    meeting.barrier.wait(cores, pause);
    let start_ns = machine.now_ns();
    machine.marker::<ID, TRACK_ON>();
    // One loop, so that there is one place where the operation is inlined: a call would count with it.
    for index in 0..iters {
        if order != Order::Free {
            turns.wait(core, index, pause);
        }
        machine.marker::<ID, BEGIN>();
        operation(index);
        machine.marker::<ID, END>();
        if order == Order::Hops {
            if core != 0 {
                machine.marker::<ID, MACHINE_END>();
            }
            if core + 1 != cores {
                machine.marker::<ID, MACHINE_BEGIN>();
            }
        }
        between(index);
        if order != Order::Free {
            turns.pass(core, cores, index);
        }
    }
    machine.marker::<ID, TRACK_OFF>();
    let end_ns = machine.now_ns();
    meeting.barrier.wait(cores, pause);
    if core == 0 {
        machine.marker::<ID, REPORT>();
    }
    meeting.barrier.wait(cores, pause);
    Span { start_ns, end_ns }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::time::Instant;

    struct FakeMachine<'a> {
        core: u32,
        log: &'a Mutex<Vec<(u32, u32)>>,
        zero: Instant,
    }

    impl Machine for FakeMachine<'_> {
        fn marker<const ID: u32, const KIND: u32>(&self) {
            assert_eq!(ID, 0x30);
            self.log.lock().unwrap().push((self.core, KIND));
        }
        fn pause(&self) {
            std::thread::yield_now();
        }
        fn now_ns(&self) -> u64 {
            self.zero.elapsed().as_nanos() as u64
        }
    }

    fn markers(cores: u32, iters: u64, order: Order) -> Vec<(u32, u32)> {
        let (meeting, log, zero) = (Meeting::default(), Mutex::new(Vec::new()), Instant::now());
        std::thread::scope(|scope| {
            for core in 0..cores {
                let (meeting, log) = (&meeting, &log);
                scope.spawn(move || {
                    let machine = FakeMachine { core, log, zero };
                    let place = Place { meeting, core, cores, iters, order };
                    let mut done = 0;
                    let span = run_region::<0x30, _>(&machine, place, |index| {
                        assert_eq!(index, done);
                        done += 1;
                    });
                    assert_eq!(done, iters);
                    assert!(span.start_ns <= span.end_ns);
                });
            }
        });
        log.into_inner().unwrap()
    }

    #[test]
    fn one_core_marks_in_the_documented_order() {
        let kinds: Vec<u32> = markers(1, 2, Order::Turns).iter().map(|m| m.1).collect();
        assert_eq!(kinds, [8, 1, 3, 4, 3, 4, 2, 5]);
    }

    #[test]
    fn forget_comes_first_and_report_last_on_core_zero() {
        let log = markers(4, 20, Order::Free);
        assert_eq!(log.first(), Some(&(0, 8)));
        assert_eq!(log.last(), Some(&(0, 5)));
        assert_eq!(log.iter().filter(|m| m.1 == 3).count(), 80);
    }

    #[test]
    fn in_turns_no_two_operations_overlap() {
        let log = markers(3, 30, Order::Turns);
        let operations: Vec<_> = log.into_iter().filter(|m| m.1 == 3 || m.1 == 4).collect();
        for (n, pair) in operations.chunks(2).enumerate() {
            let core = n as u32 % 3;
            assert_eq!(pair, [(core, 3), (core, 4)]);
        }
    }

    #[test]
    fn what_lies_between_operations_is_in_no_operation_and_in_the_turn() {
        let (meeting, log, zero) = (Meeting::default(), Mutex::new(Vec::new()), Instant::now());
        std::thread::scope(|scope| {
            for core in 0..2 {
                let (meeting, log) = (&meeting, &log);
                scope.spawn(move || {
                    let machine = FakeMachine { core, log, zero };
                    let place = Place { meeting, core, cores: 2, iters: 2, order: Order::Turns };
                    let between = |_| log.lock().unwrap().push((core, 99));
                    run_region_between::<0x30, _>(&machine, place, |_| {}, between);
                });
            }
        });
        let inner = log.into_inner().unwrap().into_iter().filter(|m| [3, 4, 99].contains(&m.1));
        let turn = |core| [(core, 3), (core, 4), (core, 99)];
        assert_eq!(inner.collect::<Vec<_>>(), [turn(0), turn(1), turn(0), turn(1)].concat());
    }

    #[test]
    fn hops_bracket_each_way_to_the_next_core() {
        let log = markers(3, 2, Order::Hops);
        let inner: Vec<_> = log.into_iter().filter(|m| (3..=7).contains(&m.1) && m.1 != 5).collect();
        let page = [(0, 3), (0, 4), (0, 6), (1, 3), (1, 4), (1, 7), (1, 6), (2, 3), (2, 4), (2, 7)];
        assert_eq!(inner, [page, page].concat());
    }
}
