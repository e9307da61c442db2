//! Calls over our ring beside the standard library's channels, and beside queues behind a lock.

use std::collections::VecDeque;
use std::hint::spin_loop;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use corey_lib_ring::{BUDGET, Consumer, Env, Mapped, Shape, Submitter};
use corey_lib_sync::Relax;
use corey_lib_sync::atomic::AtomicU64;

use crate::host::Host;
use crate::pairs::{Case, Pair, Side, alternate};

/// Operations of a round: whole batches.
const OPERATIONS: u64 = 300 * 32;
/// Slots of the ring: the fewest with which 32 calls are in flight.
const SLOTS: u32 = 64;
const CHANNEL: &str = "std::sync::mpsc, 2";
const QUEUE: &str = "Mutex<VecDeque>, 2";

/// The most processors of a row: with one, a thread serves its own calls; with two, the other one does.
pub(crate) const PROCESSORS: u32 = 2;

/// The rows of a variant.
pub(crate) fn cases(variant: &'static str) -> Vec<Case> {
    let case = |peer, measure| Case { variant, peer, operations: OPERATIONS, measure };
    match variant {
        "depth-1" => vec![case(CHANNEL, channels::<1>), case(QUEUE, queues::<1>)],
        _ => vec![case(CHANNEL, channels::<32>), case(QUEUE, queues::<32>)],
    }
}

/// Who calls.
trait Caller {
    fn submit(&mut self, number: u64, args: [u64; 2]);
    fn flush(&mut self) {}
    /// Takes a result, if there is one.
    fn poll(&mut self) -> Option<u64>;
}

/// Who serves: how many calls it found.
trait Server {
    fn turn(&mut self) -> u64;
}

/// What every call answers.
fn answer(number: u64, [first, second]: [u64; 2]) -> u64 {
    number + first + second
}

/// Makes calls, `DEPTH` at a time.
struct Calls<C, const DEPTH: u64>(C);

impl<C: Caller, const DEPTH: u64> Calls<C, DEPTH> {
    #[inline(always)]
    fn once(&mut self, operation: u64, mut wait: impl FnMut()) {
        self.0.submit(0x21, [1, operation]);
        if operation % DEPTH != DEPTH - 1 {
            return;
        }
        self.0.flush();
        for number in operation + 1 - DEPTH..=operation {
            let result = loop {
                match self.0.poll() {
                    Some(result) => break result,
                    None => wait(),
                }
            };
            assert_eq!(result, answer(0x21, [1, number]));
        }
    }
}

/// Serves as many calls as there were operations, or more.
struct Serves<S> {
    server: S,
    ahead: u64,
}

/// A thread's part.
enum Part<C, S, const DEPTH: u64> {
    Calls(Calls<C, DEPTH>),
    Serves(Serves<S>),
    Both(Calls<C, DEPTH>, S),
}

impl<C: Caller, S: Server, const DEPTH: u64> Part<C, S, DEPTH> {
    fn new(core: u32, cores: u32, caller: impl FnOnce() -> C, server: impl FnOnce() -> S) -> Self {
        match (core, cores) {
            (0, 1) => Self::Both(Calls(caller()), server()),
            (0, _) => Self::Calls(Calls(caller())),
            _ => Self::Serves(Serves { server: server(), ahead: 0 }),
        }
    }
}

impl<C: Caller, S: Server, const DEPTH: u64> Side for Part<C, S, DEPTH> {
    #[inline(always)]
    fn once(&mut self, operation: u64) {
        match self {
            Self::Calls(calls) => calls.once(operation, spin_loop),
            Self::Both(calls, server) => calls.once(operation, || _ = server.turn()),
            Self::Serves(Serves { server, ahead }) => {
                while *ahead == 0 {
                    *ahead = server.turn();
                    if *ahead == 0 {
                        spin_loop();
                    }
                }
                *ahead -= 1;
            }
        }
    }
}

/// Nobody sleeps: the ring is polled all the time.
struct Polled;

impl Relax for Polled {
    fn relax(&mut self) {
        spin_loop();
    }
}

impl Env for Polled {
    fn ring(&mut self) {
        unreachable!("the server never arms");
    }
}

impl Caller for Submitter<Mapped<'_>, Polled> {
    #[inline(always)]
    fn submit(&mut self, number: u64, [first, second]: [u64; 2]) {
        let done = self.submit::<2>(number, [first, second, 0, 0, 0, 0]);
        debug_assert!(done.is_ok(), "{done:?}");
    }

    #[inline(always)]
    fn flush(&mut self) {
        self.flush();
    }

    #[inline(always)]
    fn poll(&mut self) -> Option<u64> {
        self.poll().map(|(_, result)| result.map_or(0, |[value, _]| value))
    }
}

impl Server for (Mapped<'_>, Consumer) {
    #[inline(always)]
    fn turn(&mut self) -> u64 {
        let (words, kernel) = self;
        let served = kernel.turn(words, |number, [a, b, ..]| Ok([answer(number, [a, b]), 0]));
        u64::from(served.expect("an honest caller"))
    }
}

/// Words for a ring, and for its alignment.
fn memory(shape: Shape) -> Vec<AtomicU64> {
    (0..shape.words() + 16).map(|_| AtomicU64::new(0)).collect()
}

fn mapped(memory: &[AtomicU64], shape: Shape) -> Mapped<'_> {
    (0..16).find_map(|first| Mapped::new(&memory[first..], shape)).expect("one of 16 words begins two lines")
}

/// A side of ours.
fn ours<'a, const DEPTH: u64>(
    words: Mapped<'a>,
    shape: Shape,
    core: u32,
    cores: u32,
) -> Part<Submitter<Mapped<'a>, Polled>, (Mapped<'a>, Consumer), DEPTH> {
    let caller = || Submitter::new(words, shape, Polled);
    Part::new(core, cores, caller, || (words, Consumer::new(shape)))
}

type Call = (u64, [u64; 2]);

impl Caller for (Sender<Call>, Receiver<u64>) {
    fn submit(&mut self, number: u64, args: [u64; 2]) {
        self.0.send((number, args)).expect("the server is there");
    }

    fn poll(&mut self) -> Option<u64> {
        self.1.try_recv().ok()
    }
}

impl Server for (Receiver<Call>, Sender<u64>) {
    fn turn(&mut self) -> u64 {
        let mut served = 0;
        for (number, args) in self.0.try_iter().take(BUDGET as usize) {
            self.1.send(answer(number, args)).expect("the caller is there");
            served += 1;
        }
        served
    }
}

fn channels<const DEPTH: u64>(host: &Host, cores: u32, rounds: u64) -> Result<Pair, String> {
    let shape = Shape::new(SLOTS).ok_or("no shape")?;
    let memory = memory(shape);
    let words = mapped(&memory, shape);
    let ((calls, called), (results, given)) = (channel::<Call>(), channel());
    let (caller, server) = (Mutex::new(Some((calls, given))), Mutex::new(Some((called, results))));
    alternate(host, (cores, rounds, OPERATIONS), |core| {
        let caller = || caller.lock().ok().and_then(|mut end| end.take()).expect("one calls");
        let server = || server.lock().ok().and_then(|mut end| end.take()).expect("one serves");
        (ours::<DEPTH>(words, shape, core, cores), Part::<_, _, DEPTH>::new(core, cores, caller, server))
    })
}

/// A queue in each direction, each behind a lock.
#[derive(Default)]
struct Queues {
    calls: Mutex<VecDeque<Call>>,
    results: Mutex<VecDeque<u64>>,
}

/// A thread's way to them.
struct Way<'a>(&'a Queues);

impl Caller for Way<'_> {
    fn submit(&mut self, number: u64, args: [u64; 2]) {
        self.0.calls.lock().expect("nobody panics").push_back((number, args));
    }

    fn poll(&mut self) -> Option<u64> {
        self.0.results.lock().expect("nobody panics").pop_front()
    }
}

impl Server for Way<'_> {
    fn turn(&mut self) -> u64 {
        let mut served = 0;
        while served < u64::from(BUDGET) {
            let call = self.0.calls.lock().expect("nobody panics").pop_front();
            let Some((number, args)) = call else { break };
            self.0.results.lock().expect("nobody panics").push_back(answer(number, args));
            served += 1;
        }
        served
    }
}

fn queues<const DEPTH: u64>(host: &Host, cores: u32, rounds: u64) -> Result<Pair, String> {
    let shape = Shape::new(SLOTS).ok_or("no shape")?;
    let memory = memory(shape);
    let words = mapped(&memory, shape);
    let queues = Queues::default();
    alternate(host, (cores, rounds, OPERATIONS), |core| {
        let theirs = Part::<_, _, DEPTH>::new(core, cores, || Way(&queues), || Way(&queues));
        (ours::<DEPTH>(words, shape, core, cores), theirs)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_runs() {
        let host = Host::find().unwrap();
        let most = PROCESSORS.min(host.processors.len() as u32);
        for case in ["depth-1", "depth-32"].into_iter().flat_map(cases) {
            for cores in 1..=most {
                (case.measure)(&host, cores, 2).unwrap();
            }
        }
    }
}
