//! Threads: functions and programs on other cores.

use crate::space::Space;
use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{
    Error, Home, Id, Kinds, Name, ObjRef, PcoreCalls, RUN_SHARES, RunContext, ShareCalls, reason, run_mode,
};
use corey_libos_sys::{address, pause, sys};

/// A core of one's own: a share with a pcore and a root tree in it.
#[derive(Clone, Copy, Debug)]
pub struct Core {
    /// Names the pcore and the tree, and whatever the caller adds.
    pub share: Id,
    /// The share that names `share`.
    pub parent: Id,
    /// The pcore.
    pub pcore: ObjRef,
    /// The root tree.
    pub space: Space,
}

impl Core {
    /// Takes core `number`: a share in `parent` with a quota of `pages`, a pcore, an empty root tree.
    ///
    /// # Errors
    ///
    /// As the three calls; nothing stays.
    pub fn take(parent: Id, number: u16, pages: u64, free: u64) -> Result<Self, Error> {
        Self::take_with(parent, number, (pages, 64), free)
    }

    /// As [`Core::take`], with a quota of (pages, objects).
    ///
    /// # Errors
    ///
    /// As the three calls; nothing stays.
    pub fn take_with(parent: Id, number: u16, quota: (u64, u64), free: u64) -> Result<Self, Error> {
        let name = Name::new("core");
        let (pages, objects) = quota;
        let share = sys().share_alloc(parent, Kinds::all(), pages, objects, Home::Any, address(&name))?;
        let made = sys().pcore_alloc(share, u64::from(number), address(&name)).and_then(|object| {
            let space = Space::root(share, free, "core")?;
            Ok(Self { share, parent, pcore: ObjRef { share, object }, space })
        });
        made.inspect_err(|_| drop_share(parent, share))
    }

    /// Gives the core back, and everything its share names.
    pub fn release(self) {
        drop_share(self.parent, self.share);
    }
}

/// Ends a share that this core holds and `parent` names. Errors mean that it ended by itself.
fn drop_share(parent: Id, share: Id) {
    let _ = sys().share_delobj(ObjRef { share: parent, object: share });
    let _ = sys().self_drop(share);
}

/// How a thread ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It halted with this value.
    Halted(u32),
    /// Another core halted it, with this value.
    HaltedByOther(u32),
    /// An exception: vector and address.
    Fault(u32, u64),
    /// It lost the share it stood on, or its core.
    Lost,
}

/// A running thread: two words where the kernel reports its end.
#[derive(Clone, Copy, Debug)]
pub struct Thread<'a> {
    status: &'a [AtomicU64; 2],
}

impl<'a> Thread<'a> {
    /// A thread whose end is reported in `status`.
    #[must_use]
    pub fn at(status: &'a [AtomicU64; 2]) -> Self {
        Self { status }
    }

    /// How it ended; `None` while it runs.
    #[must_use]
    pub fn poll(&self) -> Option<Ended> {
        let [first, address] = self.status;
        let word = first.load(Ordering::Acquire);
        let value = (word >> 32) as u32;
        match word as u32 {
            reason::RUNNING => None,
            reason::HALTED => Some(Ended::Halted(value)),
            reason::HALTED_BY_OTHER => Some(Ended::HaltedByOther(value)),
            reason::FAULT => Some(Ended::Fault(value, address.load(Ordering::Relaxed))),
            _ => Some(Ended::Lost),
        }
    }

    /// Waits for its end.
    #[must_use]
    pub fn join(&self) -> Ended {
        loop {
            if let Some(ended) = self.poll() {
                return ended;
            }
            pause();
        }
    }
}

/// Runs `entry(args…)` on `core` with stack pointer `stack`, holding `shares` and the core's own share.
/// `status` lies at byte `offset` of the segment `place`.
///
/// # Errors
///
/// As `pcore_run`.
pub fn spawn<'a>(
    core: &Core,
    (entry, stack): (u64, u64),
    args: [u64; 6],
    shares: &[Id],
    (status, place, offset): (&'a [AtomicU64; 2], ObjRef, u64),
) -> Result<Thread<'a>, Error> {
    let mut context = RunContext {
        tree: core.space.tree,
        mode: run_mode::USER,
        nshares: shares.len() as u64 + 1,
        entry,
        stack,
        args,
        status: place,
        status_offset: offset,
        shares: [Id::NULL; RUN_SHARES],
    };
    let all = [core.share].into_iter().chain(shares.iter().copied());
    if shares.len() >= RUN_SHARES {
        return Err(Error::Full);
    }
    context.shares.iter_mut().zip(all).for_each(|(to, from)| *to = from);
    sys().pcore_run(core.pcore, address(&context))?;
    Ok(Thread { status })
}
