//! Programs that wait for a word to change.
//!
//! ```text
//! waiter  on the list ─ look at the word: as it was ─ (woken? time?) sleep … interrupt ─ off the list
//! waker   change the word ─ take waiters off the list ─ message: woken ─ acks
//! ```
//!
//! The waiter looks after it is on the list, the waker looks at the list after the change: one of them sees the
//! other. A waiter sleeps outside its epoch, so it holds nobody's memory back.

use crate::core_kernel::Core;
use corey_abi::{Error, to_registers};
use corey_kernel_hal::{CoreId, Platform};
use corey_kernel_object::{Ctx, Entered, Handle, Link};
use corey_kernel_percore::{Message, MessageKind, ObjectWords};
use corey_kernel_segment::Segment;
use corey_lib_sync::atomic::{Ordering, fence};

/// A wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    /// The segment's home core, whose list this core is on.
    pub(crate) home: CoreId,
    /// When it ends, in ticks of the time-stamp counter; `u64::MAX` for never.
    pub(crate) until: u64,
}

/// Puts this core on the list of those that wait on the word at `offset` of `segment`, and looks whether that is `value`;
/// when it is not, the core is woken already.
///
/// # Errors
///
/// As [`Segment::read`]: then it is not on the list.
#[inline(always)]
pub(crate) fn begin<P: Platform>(
    ctx: &mut Ctx<P>,
    inside: &Entered<'_>,
    segment: Handle<'_, Segment>,
    offset: u64,
    value: u64,
) -> Result<(), Error> {
    let core = ctx.core();
    ctx.local.running.woken = false;
    segment.set_waited();
    let list = ctx.world.waits(segment.header().home());
    if let Some(list) = list {
        list.lock(&mut ctx.local).add(segment.link(), offset, core);
    }
    // On the list from here on: a change after this look is followed by a wake-up.
    fence(Ordering::SeqCst);
    let mut word = [0; 8];
    if let Err(error) = Segment::read(segment, ctx, inside, offset, &mut word) {
        if let Some(list) = list {
            list.lock(&mut ctx.local).remove(core);
        }
        return Err(error);
    }
    if u64::from_le_bytes(word) != value {
        ctx.local.running.woken = true;
    }
    Ok(())
}

/// Wakes the cores that wait on `segment`, at `offset` or (`None`) anywhere. Says how many.
pub(crate) fn wake<P: Platform>(ctx: &mut Ctx<P>, home: CoreId, segment: Link, offset: Option<u64>) -> u64 {
    let Some(list) = ctx.world.waits(home) else { return 0 };
    // The caller's change comes before the look at the list.
    fence(Ordering::SeqCst);
    let waiters = list.lock(&mut ctx.local).take(segment, offset);
    if waiters.contains(ctx.core()) {
        ctx.local.running.woken = true;
    }
    let message = Message { kind: MessageKind::Wake, object: ObjectWords::NULL, words: [0; 2] };
    ctx.local.broadcast(waiters, message);
    waiters.iter().count() as u64
}

impl<P: Platform> Core<P> {
    /// One turn of the running program's wait: its result when it is over, else after a sleep `None`.
    pub(crate) fn wait(&mut self, inside: &mut Option<Entered<'static>>) -> Option<[u64; 2]> {
        let waiting = self.waiting?;
        let local = &self.ctx.local;
        let now = local.platform.tsc();
        let [slice, end] = local.running.slice;
        // A time slice that ends wakes it too: the tick comes when it is back in user mode.
        let tick = slice != 0 && now >= end;
        let result = match (local.running.woken || tick, now >= waiting.until) {
            (true, _) => Ok([0; 2]),
            (false, true) => Err(Error::TimedOut),
            (false, false) => {
                local.set_timer((waiting.until != u64::MAX).then_some(waiting.until));
                if let Some(inside) = inside.take() {
                    self.ctx.leave(inside);
                }
                self.ctx.local.platform.sleep();
                *inside = Some(self.ctx.enter());
                return None;
            }
        };
        self.end_wait();
        Some(to_registers(result))
    }

    /// Takes this core off the list it waits on.
    pub(crate) fn end_wait(&mut self) {
        let Some(waiting) = self.waiting.take() else { return };
        let core = self.ctx.core();
        if let Some(list) = self.ctx.world.waits(waiting.home) {
            list.lock(&mut self.ctx.local).remove(core);
        }
        self.ctx.local.running.waits = false;
        self.ctx.local.set_timer(None);
    }
}

/// `Link` and home of a dying segment that somebody may wait on.
pub(crate) fn wake_all<P: Platform>(ctx: &mut Ctx<P>, home: CoreId, segment: Link) {
    wake(ctx, home, segment, None);
}
