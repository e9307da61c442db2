//! [`FakeMachine`]: what the cores of one machine share.

use crate::death::Vital;
use crate::failure::Failure;
use crate::mmu::Mmu;
use crate::platform::FakePlatform;
use crate::ram::Ram;
use crate::topology;
use corey_abi::{Error, SyscallInfo};
use corey_kernel_hal::{CoreId, Exit, Frame, Machine, PAGE_SIZE, Range, Topology};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Ticks per second of the fake time-stamp counter.
pub const TSC_HZ: u64 = 1_000_000_000;

/// What a core's hardware was asked to do since power-on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Interrupts sent.
    pub ipis: u64,
    /// [`corey_kernel_hal::Platform::flush`].
    pub flushes: u64,
    /// [`corey_kernel_hal::Platform::flush_all`].
    pub flush_alls: u64,
    /// [`corey_kernel_hal::Platform::load_root`].
    pub root_loads: u64,
    /// Frames zeroed.
    pub zeroed: u64,
    /// Frames copied.
    pub copied: u64,
}

/// One core's hardware.
#[derive(Default)]
pub(crate) struct CoreHardware {
    pub(crate) mmu: Mutex<Mmu>,
    pending: AtomicBool,
    /// When the timer goes off, in ticks; 0 for never.
    timer: AtomicU64,
    asleep: Mutex<()>,
    wake: Condvar,
    pub(crate) counts: [AtomicU64; 6],
    pub(crate) vital: Vital,
}

/// An interrupt line.
#[derive(Default)]
struct Line {
    /// Whether a device pulls it.
    pulled: Vec<Box<dyn Fn() -> bool + Send>>,
    /// Whom it interrupts.
    open: Option<CoreId>,
    /// Whose interrupt by it is not ended.
    under_way: Option<CoreId>,
}

/// The machine behind a [`FakeMachine`] and its platforms.
pub(crate) struct Hardware {
    pub(crate) ram: Ram,
    pub(crate) cores: Vec<CoreHardware>,
    pub(crate) failure: Failure,
    stopping: AtomicBool,
    console: Mutex<Vec<u8>>,
    exit: Mutex<Option<Exit>>,
    /// Interrupt lines, by number.
    lines: Mutex<Vec<Line>>,
    /// Calls that failed, and how: number and code.
    refused: Mutex<BTreeSet<(u64, u8)>>,
}

/// Thrown through a core's stack when the machine has ended.
pub(crate) struct PowerLost;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hardware {
    pub(crate) fn core(&self, core: CoreId) -> &CoreHardware {
        self.cores.get(core.index()).unwrap_or_else(|| self.failure.fail(&format!("{core:?} does not exist")))
    }

    pub(crate) fn interrupt(&self, target: CoreId) {
        let core = self.core(target);
        core.pending.store(true, Ordering::SeqCst);
        drop(lock(&core.asleep));
        core.wake.notify_all();
    }

    /// Takes the pending interrupt of `core`.
    pub(crate) fn take_interrupt(&self, core: CoreId) -> bool {
        self.core(core).pending.swap(false, Ordering::SeqCst)
    }

    /// Sets the timer of `core`.
    pub(crate) fn set_timer(&self, core: CoreId, at: Option<u64>) {
        self.core(core).timer.store(at.map_or(0, |at| at.max(1)), Ordering::SeqCst);
    }

    /// Whether the timer of `core` has gone off; then it is unset.
    pub(crate) fn take_tick(&self, core: CoreId) -> bool {
        let timer = &self.core(core).timer;
        let at = timer.load(Ordering::SeqCst);
        let now = self.failure.elapsed().as_nanos() as u64;
        at != 0 && now >= at && timer.swap(0, Ordering::SeqCst) != 0
    }

    /// Sleeps until an interrupt is pending, `more` says so, or the machine stops.
    pub(crate) fn sleep(&self, core: CoreId, limit: Duration) {
        let core = self.core(core);
        #[cfg(any(loom, shuttle))]
        return crate::time::nap(limit);
        #[cfg(not(any(loom, shuttle)))]
        self.sleep_on(core, limit);
    }

    #[cfg(not(any(loom, shuttle)))]
    fn sleep_on(&self, core: &CoreHardware, limit: Duration) {
        let asleep = lock(&core.asleep);
        if !core.pending.load(Ordering::SeqCst) && !self.is_stopping() {
            drop(core.wake.wait_timeout(asleep, limit));
        }
    }

    /// Lets lines that are pulled interrupt who sleeps.
    pub(crate) fn look_at_lines(&self) {
        let mut lines = lock(&self.lines);
        for line in lines.iter_mut().filter(|line| line.under_way.is_none()) {
            if line.open.is_some() && line.pulled.iter().any(|pulled| pulled()) {
                line.under_way = line.open;
            }
        }
    }

    /// Ends the interrupts of lines that `core` has.
    pub(crate) fn end_card_interrupt(&self, core: CoreId) -> bool {
        let mut lines = lock(&self.lines);
        let mut ended = false;
        for line in lines.iter_mut().filter(|line| line.under_way == Some(core)) {
            ended = true;
            line.under_way = None;
            if line.open == Some(core) && line.pulled.iter().any(|pulled| pulled()) {
                self.failure.fail("an interrupt is ended while its line is open and pulled: a storm");
            }
        }
        ended
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Makes every core's thread end.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for core in &self.cores {
            drop(lock(&core.asleep));
            core.wake.notify_all();
        }
    }

    /// Notes that call `number` answered `error`: one that its `# Errors` part does not name is a failure.
    pub(crate) fn refused(&self, number: u64, error: Error) {
        let named = match SyscallInfo::of(number) {
            Some(row) => {
                row.errors().any(|named| named == error) || error == Error::CoreLost && self.has_dead()
            }
            None => error == Error::BadSyscall,
        };
        if !named {
            let name = SyscallInfo::of(number).map_or("no call", |row| row.name);
            self.failure.fail(&format!("{name} answered {error:?}, which its `# Errors` part does not name"));
        }
        lock(&self.refused).insert((number, error as u8));
    }

    /// Nobody may hold a translation to a frame that gets new contents.
    pub(crate) fn check_unreachable(&self, frame: Frame, what: &str) {
        if !self.ram.is_ram(frame) {
            self.failure.fail(&format!("{what} {frame:?}, no RAM"));
        }
        if self.ram.held(frame) != 0 {
            self.failure.fail(&format!("{what} {frame:?} while a core still holds a translation to it"));
        }
    }
}

/// A machine with a number of cores and some RAM.
#[derive(Clone)]
pub struct FakeMachine {
    pub(crate) hardware: Arc<Hardware>,
    pub(crate) topology: Topology,
}

impl FakeMachine {
    /// A machine with `cores` cores whose RAM spans `bytes` from 1 MiB on, less `holes` (physical
    /// addresses: sorted, disjoint, page aligned, not at the end).
    #[must_use]
    pub fn new(cores: usize, bytes: u64, holes: &[Range]) -> Self {
        Self {
            hardware: Arc::new(Hardware {
                ram: Ram::new(bytes, holes),
                cores: (0..cores).map(|_| CoreHardware::default()).collect(),
                failure: Failure::new(),
                stopping: AtomicBool::new(false),
                console: Mutex::default(),
                exit: Mutex::default(),
                lines: Mutex::default(),
                refused: Mutex::default(),
            }),
            topology: topology::flat(cores),
        }
    }

    /// The same machine, whose cores and memory lie as `topology` says.
    ///
    /// # Panics
    ///
    /// When it has another number of cores.
    #[must_use]
    pub fn with_topology(self, topology: Topology) -> Self {
        assert_eq!(topology.places.len(), self.cores());
        Self { topology, ..self }
    }

    /// Number of cores.
    #[must_use]
    pub fn cores(&self) -> usize {
        self.hardware.cores.len()
    }

    /// The ranges of RAM.
    #[must_use]
    pub fn free(&self) -> &[Range] {
        self.hardware.ram.free()
    }

    /// The machine as `core` sees it. Use it on one thread at a time.
    #[must_use]
    pub fn platform(&self, core: u16) -> FakePlatform {
        FakePlatform::new(Arc::clone(&self.hardware), CoreId(core))
    }

    /// Runs `work` for every core on a thread of its own, and waits. Results by core.
    ///
    /// # Panics
    ///
    /// With the first failure, when any of them panics.
    pub fn run<R: Send>(&self, work: impl Fn(FakePlatform) -> R + Sync) -> Vec<R> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.cores())
                .map(|core| {
                    let work = &work;
                    let platform = self.platform(core as u16);
                    scope.spawn(move || {
                        let failure = &self.hardware.failure;
                        crate::core_loop::guard(failure, || work(platform))
                    })
                })
                .collect();
            let results: Vec<_> = threads.into_iter().map(|t| t.join().ok().flatten()).collect();
            self.check();
            let all = results.into_iter().collect::<Option<_>>();
            all.expect("no failure was recorded, so every core gave a result")
        })
    }

    /// What `core` was asked to do.
    #[must_use]
    pub fn counts(&self, core: u16) -> Counts {
        let read = |i: usize| self.hardware.core(CoreId(core)).counts[i].load(Ordering::Relaxed);
        Counts {
            ipis: read(0),
            flushes: read(1),
            flush_alls: read(2),
            root_loads: read(3),
            zeroed: read(4),
            copied: read(5),
        }
    }

    /// From now on, reaching `frame` through a user mapping fails the test.
    pub fn poison(&self, frame: Frame) {
        self.hardware.ram.set_poison(frame, true);
    }

    /// Ends [`FakeMachine::poison`].
    pub fn unpoison(&self, frame: Frame) {
        self.hardware.ram.set_poison(frame, false);
    }

    /// How many cached translations, over all cores, name `frame`.
    #[must_use]
    pub fn translations_to(&self, frame: Frame) -> u32 {
        self.hardware.ram.held(frame)
    }

    /// A device reads RAM at `address`.
    pub fn dma_read(&self, address: u64, bytes: &mut [u8]) {
        for (at, byte) in (address..).zip(bytes) {
            *byte = self.dma(at).load(Ordering::Relaxed);
        }
    }

    /// A device writes RAM at `address`.
    pub fn dma_write(&self, address: u64, bytes: &[u8]) {
        for (at, byte) in (address..).zip(bytes) {
            self.dma(at).store(*byte, Ordering::Relaxed);
        }
    }

    fn dma(&self, address: u64) -> &std::sync::atomic::AtomicU8 {
        self.hardware.ram.byte(Frame((address / PAGE_SIZE) as u32), address % PAGE_SIZE)
    }

    /// A device pulls line `number` whenever `pulled` says so.
    pub fn connect(&self, number: u8, pulled: impl Fn() -> bool + Send + 'static) {
        let mut lines = lock(&self.hardware.lines);
        while lines.len() <= usize::from(number) {
            lines.push(Line::default());
        }
        if let Some(line) = lines.get_mut(usize::from(number)) {
            line.pulled.push(Box::new(pulled));
        }
    }

    /// Whom line `number` interrupts.
    #[must_use]
    pub fn line(&self, number: u8) -> Option<CoreId> {
        lock(&self.hardware.lines).get(usize::from(number)).and_then(|line| line.open)
    }

    /// Whether call `number` ever answered `error`.
    #[must_use]
    pub fn has_refused(&self, number: u64, error: Error) -> bool {
        lock(&self.hardware.refused).contains(&(number, error as u8))
    }

    /// Everything written to the console so far.
    #[must_use]
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&lock(&self.hardware.console)).into_owned()
    }

    /// How the machine ended, if it has.
    #[must_use]
    pub fn exited(&self) -> Option<Exit> {
        *lock(&self.hardware.exit)
    }

    /// Checks what is true of every run.
    ///
    /// # Panics
    ///
    /// When a core failed, or somebody wrote to a hole.
    pub fn check(&self) {
        if let Some(what) = self.hardware.failure.first() {
            panic!("{what}");
        }
        if let Some(frame) = self.hardware.ram.damaged_hole() {
            panic!("{frame:?} is a hole, and was written to");
        }
    }
}

impl Machine for FakeMachine {
    fn console_write(&self, bytes: &[u8]) {
        lock(&self.hardware.console).extend_from_slice(bytes);
    }

    fn exit(&self, how: Exit) -> ! {
        lock(&self.hardware.exit).get_or_insert(how);
        self.hardware.stop();
        std::panic::resume_unwind(Box::new(PowerLost))
    }

    fn open_line(&self, line: u8, core: CoreId) {
        if let Some(line) = lock(&self.hardware.lines).get_mut(usize::from(line)) {
            line.open = Some(core);
        }
    }

    fn close_line(&self, line: u8) {
        if let Some(line) = lock(&self.hardware.lines).get_mut(usize::from(line)) {
            line.open = None;
        }
    }
}
