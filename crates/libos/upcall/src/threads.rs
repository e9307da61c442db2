//! Threads on one core, taking turns at every tick.

use crate::handler::Handler;
use core::cell::UnsafeCell;
use corey_abi::{Error, Id, ObjRef, PcoreCalls, TICK_VECTOR};
use corey_libos_sys::sys;
use corey_libos_sys::upcall::{Context, resume};
use corey_libos_sys::upcall_entry;
use corey_libos_vm::Space;

/// Most threads of a core.
const THREADS: usize = 16;

#[derive(Debug)]
struct State {
    /// Contexts of the threads, the running one's out of date.
    threads: heapless::Vec<Context, THREADS>,
    /// Which one runs.
    running: usize,
    pcore: ObjRef,
}

/// The threads of one core. The one that made it is the first.
#[derive(Debug)]
pub struct Threads {
    state: UnsafeCell<State>,
    handler: UnsafeCell<Option<Handler>>,
}

upcall_entry!(tick_entry, on_tick);

/// A tick: the next thread's turn. Anything else is a fault nobody handles: it ends the pcore, as without a handler.
extern "C" fn on_tick(context: &mut Context) -> *const Context {
    let handler = Handler::of(context);
    // SAFETY: `start` stored the address of `Threads` that stay as long as they are started; this core alone uses
    // them, and outside the handler only while masked.
    let threads = unsafe { &*(handler.data() as *const Threads) };
    // SAFETY: as above.
    let state = unsafe { &mut *threads.state.get() };
    let [vector, ..] = context.event;
    if vector != TICK_VECTOR {
        // Again, and now masked: the kernel reports it as it is.
        return context;
    }
    let _ = handler.take_tick();
    if let Some(saved) = state.threads.get_mut(state.running) {
        *saved = *context;
    }
    state.next()
}

impl State {
    /// Chooses the next thread.
    fn next(&mut self) -> *const Context {
        self.running = (self.running + 1) % self.threads.len().max(1);
        self.threads.get(self.running).map_or(core::ptr::null(), core::ptr::from_ref)
    }
}

impl Threads {
    /// No threads but the calling one; `pcore` is the one it runs on.
    #[must_use]
    pub fn new(pcore: ObjRef) -> Self {
        let mut threads = heapless::Vec::new();
        // The first of sixteen.
        let _ = threads.push(Context::new(0, 0, 0));
        Self { state: UnsafeCell::new(State { threads, running: 0, pcore }), handler: UnsafeCell::new(None) }
    }

    fn masked<R>(&self, run: impl FnOnce(&mut State) -> R) -> R {
        // SAFETY: written by `start` and `stop` only, on this core.
        let handler = unsafe { *self.handler.get() };
        if let Some(handler) = handler {
            handler.mask();
        }
        // SAFETY: masked, or not started: no tick comes in between, and this core alone uses the state.
        let result = run(unsafe { &mut *self.state.get() });
        if let Some(handler) = handler {
            handler.unmask();
        }
        result
    }

    /// Adds a thread that runs `entry(argument)`, which never returns, on the stack whose end is `stack`.
    ///
    /// # Errors
    ///
    /// `Full` beyond 16 threads.
    pub fn add(&self, entry: extern "C" fn(u64) -> !, argument: u64, stack: u64) -> Result<(), Error> {
        // As after a call: the return address would lie below a 16-byte boundary.
        let context = Context::new(entry as usize as u64, (stack & !15) - 8, argument);
        self.masked(|state| state.threads.push(context).map_err(|_| Error::Full))
    }

    /// Starts taking turns of `nanoseconds`.
    ///
    /// # Errors
    ///
    /// As [`Handler::install`] and `pcore_set_interval`.
    pub fn start(&'static self, space: &mut Space, share: Id, nanoseconds: u64) -> Result<(), Error> {
        let data = core::ptr::from_ref(self) as u64;
        let handler = Handler::install(space, share, tick_entry as *const () as u64, data)?;
        // SAFETY: this core alone uses it, and no tick comes yet.
        unsafe { *self.handler.get() = Some(handler) };
        let pcore = self.masked(|state| state.pcore);
        sys().pcore_set_interval(pcore, nanoseconds)
    }

    /// Stops taking turns: the calling thread goes on alone.
    ///
    /// # Errors
    ///
    /// As `pcore_set_interval`.
    pub fn stop(&self) -> Result<(), Error> {
        let pcore = self.masked(|state| state.pcore);
        sys().pcore_set_interval(pcore, 0)
    }

    /// Ends the calling thread; the others go on.
    ///
    /// # Panics
    ///
    /// When it is the only one, or turns were not started.
    pub fn exit(&self) -> ! {
        // SAFETY: as in `masked`.
        let handler = unsafe { *self.handler.get() }.expect("a thread ends after `start`");
        handler.mask();
        // SAFETY: masked; this core alone uses the state.
        let state = unsafe { &mut *self.state.get() };
        assert!(state.threads.len() > 1, "the last thread of a core ends with `halt`");
        state.threads.swap_remove(state.running);
        let next = state.next();
        // SAFETY: masked; a thread's context, interrupted or new, which `on_tick` overwrites before its next turn.
        unsafe { resume(next, handler.masked()) }
    }
}
