//! Cores that stop for ever, at a step that a test chooses.

use crate::machine::{FakeMachine, Hardware, PowerLost, lock};
use corey_kernel_hal::{CoreId, Sign};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

/// How a core stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// It says so, as after a machine check.
    Stopped = 1,
    /// It stays at one kernel instruction, and answers when it is asked.
    Stuck = 2,
    /// It answers nothing.
    Silent = 3,
}

/// What a core's hardware knows of its end.
#[derive(Debug, Default)]
pub(crate) struct Vital {
    /// Steps until it stops, and how; 0 for never.
    fuse: AtomicU64,
    way: AtomicU8,
    /// How it stopped; 0 while it works.
    dead: AtomicU8,
    answers: AtomicU64,
    turns: AtomicU64,
    stopped: AtomicU8,
}

impl Vital {
    fn is(&self, death: Death) -> bool {
        self.dead.load(Ordering::SeqCst) == death as u8
    }
}

impl Hardware {
    /// One step of `core`: it may be the last.
    pub(crate) fn step(&self, core: CoreId) {
        let vital = &self.core(core).vital;
        if vital.fuse.load(Ordering::Relaxed) != 0 && vital.fuse.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.die(core, vital);
        }
    }

    fn die(&self, core: CoreId, vital: &Vital) -> ! {
        let way = vital.way.load(Ordering::SeqCst);
        if way == Death::Stopped as u8 {
            self.leave(core);
            vital.stopped.store(1, Ordering::SeqCst);
        }
        vital.dead.store(way, Ordering::SeqCst);
        while !self.is_stopping() {
            std::thread::sleep(Duration::from_millis(1));
            self.failure.check();
        }
        std::panic::resume_unwind(Box::new(PowerLost))
    }

    /// Whether some core has stopped.
    pub(crate) fn has_dead(&self) -> bool {
        self.cores.iter().any(|core| core.vital.dead.load(Ordering::SeqCst) != 0)
    }

    /// Drops the core's translations: it makes no access any more.
    fn leave(&self, core: CoreId) {
        lock(&self.core(core).mmu).load_root(&self.ram, &self.failure, None);
    }

    pub(crate) fn ask(&self, target: CoreId) {
        let vital = &self.core(target).vital;
        if !vital.is(Death::Silent) {
            vital.answers.fetch_add(1, Ordering::SeqCst);
        }
    }

    pub(crate) fn sign(&self, target: CoreId) -> Sign {
        let vital = &self.core(target).vital;
        Sign {
            answers: vital.answers.load(Ordering::SeqCst),
            place: u64::from(vital.is(Death::Stuck)),
            turns: vital.turns.load(Ordering::SeqCst),
            stopped: vital.stopped.load(Ordering::SeqCst) != 0,
        }
    }

    pub(crate) fn note_turn(&self, own: CoreId) {
        self.core(own).vital.turns.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn order_stop(&self, target: CoreId) {
        let vital = &self.core(target).vital;
        if vital.dead.load(Ordering::SeqCst) == 0 {
            self.failure.fail(&format!("{target:?} works, and is ordered to stop"));
        }
        self.leave(target);
        if vital.is(Death::Stuck) {
            vital.stopped.store(1, Ordering::SeqCst);
        }
    }
}

impl FakeMachine {
    /// Makes `core` stop for ever after `steps` steps: operations of its platform, turns of its idle loop and of its
    /// program's.
    pub fn stop_core(&self, core: u16, steps: u64, death: Death) {
        let vital = &self.hardware.core(CoreId(core)).vital;
        vital.way.store(death as u8, Ordering::SeqCst);
        vital.fuse.store(steps.max(1), Ordering::SeqCst);
    }

    /// Whether `core` has stopped.
    #[must_use]
    pub fn has_stopped(&self, core: u16) -> bool {
        self.hardware.core(CoreId(core)).vital.dead.load(Ordering::SeqCst) != 0
    }
}
