//! [`Scope`]: threads that end before it does.

use crate::MAX_CORES;
use crate::failure::{Failure, How};
use crate::here::Here;
use crate::message::Message;
use crate::order::{Order, locality, seats};
use core::cell::RefCell;
use core::fmt;
use core::marker::PhantomData;
use corey_abi::{
    Error, Id, MapFlags, Name, ObjRef, ObjectCalls, PAGE_BYTES, PcoreCalls, RUN_SHARES, ShareCalls,
    THREAD_BYTES, UserPtr,
};
use corey_libos_rt::sys::{address, segment, sys};
use corey_libos_rt::vm::{Core, Thread, spawn};
use corey_libos_rt::{Process, heaps};

const GIB: u64 = 1 << 30;
/// Where thread stacks lie: core `n`'s ends in the middle of the `n`-th GiB, with nothing below and above it.
const STACKS: u64 = 1 << 46;
/// Where message pages lie: those of the scopes of core `n` in the `n`-th GiB.
const MESSAGES: u64 = STACKS + (1 << 45);
const STACK_PAGES: u64 = 16;

/// Threads that end before it does.
pub struct Scope<'scope, 'env: 'scope> {
    here: RefCell<&'env mut Here>,
    cores: u16,
    /// One page for each core.
    messages: ObjRef,
    running: RefCell<heapless::Vec<Running, MAX_CORES>>,
    /// Neither lifetime may shrink: a thread borrows for all of `'scope`.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// A thread that was not joined.
#[derive(Clone, Copy)]
struct Running {
    core: u16,
    /// The share that names its pcore, its tree and its stack.
    share: Id,
    /// Drops the result; says whether there was one.
    discard: unsafe fn(Message) -> bool,
}

/// Runs `work` in a scope of `here`.
pub(crate) fn run<'env, T>(
    here: &'env mut Here,
    work: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (own, program) = (here.core, here.process.program);
    let failed = |error| Failure::start(own, error);
    let cores = here.process.info.header.cores.min(MAX_CORES as u64);
    heaps::open(&mut here.process).map_err(failed)?;
    let messages = segment(program, cores * PAGE_BYTES, "messages").map_err(failed)?;
    let at = messages_of(own);
    let slot = here.process.space.map_at(messages, at, 0, cores, MapFlags::WRITE).map_err(|error| {
        let _ = sys().share_delobj(messages);
        failed(error)
    })?;
    let scope = Scope {
        here: RefCell::new(here),
        cores: cores as u16,
        messages,
        running: RefCell::new(heapless::Vec::new()),
        scope: PhantomData,
        env: PhantomData,
    };
    let result = work(&scope);
    let rest = scope.join_all();
    let ended = scope.here.borrow_mut().process.space.unmap(slot);
    let ended = ended.and_then(|()| sys().share_delobj(messages));
    let value = result?;
    rest?;
    ended.map_err(failed)?;
    Ok(value)
}

fn messages_of(core: u16) -> u64 {
    MESSAGES + u64::from(core) * GIB
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// The numbers of cores that are free, the nearest first: [`Scope::free_by`] with [`Order::Nearest`].
    pub fn free(&self) -> impl Iterator<Item = u16> + '_ {
        self.free_by(Order::Nearest)
    }

    /// The numbers of cores that are free, in `order`. A core is free when it is asked about: another program may take
    /// it before a thread is spawned there.
    ///
    /// Costs one call for each core of the machine, and two more for each core that is asked about.
    pub fn free_by(&self, order: Order) -> impl Iterator<Item = u16> + '_ {
        let own = self.here.borrow().core;
        // Every core below `cores` has an answer.
        let seats = seats(own, self.cores, order).unwrap_or_default();
        let mut cores = [0_u64; MAX_CORES / 64];
        let mut first_of_its_core = move |thread_group: u16| {
            let bit = 1 << (thread_group % 64);
            cores.get_mut(usize::from(thread_group) / 64).is_some_and(|word| {
                let first = *word & bit == 0;
                *word |= bit;
                first
            })
        };
        if order == Order::PhysicalCores {
            // This thread's own is in use.
            first_of_its_core(locality(own).map_or(own, |here| here.position.thread_group as u16));
        }
        seats.into_iter().filter_map(move |seat| {
            let wanted = self.is_free(seat.core)
                && (order != Order::PhysicalCores || first_of_its_core(seat.thread_group));
            wanted.then_some(seat.core)
        })
    }

    fn is_free(&self, core: u16) -> bool {
        let share = self.here.borrow().process.program;
        let name = Name::new("free?");
        let taken = sys().pcore_alloc(share, core.into(), address(&name));
        taken.is_ok_and(|object| sys().share_delobj(ObjRef { share, object }).is_ok())
    }

    /// Lends this thread's process: what is mapped with it now, threads that run already do not see.
    ///
    /// # Panics
    ///
    /// When `work` uses the scope.
    pub fn with_process<R>(&self, work: impl FnOnce(&mut Process) -> R) -> R {
        work(&mut self.here.borrow_mut().process)
    }

    /// Runs `work` on core `core`, in a copy of this thread's address space and on a stack of its own.
    ///
    /// # Errors
    ///
    /// The core is taken or does not exist, or a call failed; nothing stays.
    pub fn spawn<F, T>(&'scope self, core: u16, work: F) -> Result<Handle<'scope, 'env, T>, Failure>
    where
        F: FnOnce(&mut Here) -> T + Send + 'scope,
        T: Send + 'scope,
    {
        if core >= self.cores {
            return Err(Failure { core, how: How::NoSuchCore });
        }
        if self.running.borrow().iter().any(|thread| thread.core == core) {
            return Err(Failure { core, how: How::Taken });
        }
        let failed = |error| Failure::start(core, error);
        let here = self.here.borrow();
        if here.held.len() + 1 >= RUN_SHARES {
            return Err(failed(Error::Full));
        }
        let taken = Core::take_with(here.parent, core, here.quota, 0).map_err(failed)?;
        if let Err(error) = self.start(&here, taken, core, work) {
            taken.release();
            return Err(failed(error));
        }
        // The thread holds its share, and `parent` names it. A core can hold few shares, so this one
        // does not keep it.
        let _ = sys().self_drop(taken.share);
        let discard = Message::discard::<T>;
        // There are at most `MAX_CORES`, one thread for each.
        let _ = self.running.borrow_mut().push(Running { core, share: taken.share, discard });
        Ok(Handle { scope: self, core, result: PhantomData })
    }

    fn start<F, T>(&self, here: &Here, mut taken: Core, core: u16, work: F) -> Result<(), Error>
    where
        F: FnOnce(&mut Here) -> T,
    {
        taken.space.mirror(&here.process.space, &mut |_| true)?;
        let stack = segment(taken.share, STACK_PAGES * PAGE_BYTES, "stack")?;
        // As `vm::stack` has it: the end is a multiple of `STACK_SPAN`, and the thread's block lies there.
        let end = STACKS + u64::from(core) * GIB + GIB / 2;
        let bottom = end - STACK_PAGES * PAGE_BYTES;
        taken.space.map_at(stack, bottom, 0, STACK_PAGES, MapFlags::WRITE)?;
        let process =
            Process { program: taken.share, pcore: taken.pcore, space: taken.space, ..here.process };
        let message = self.message(core);
        // Written by the kernel first: without memory for the page, filling it would be this thread's fault.
        let page = UserPtr(message.address());
        sys().obj_get_name(taken.pcore, page).map_err(|_| Error::NoMemory)?;
        let entry = message.fill(Here::below(here, core, process), work);
        // As after a call: the return address would lie below a 16-byte boundary.
        let top = end - THREAD_BYTES - 8;
        let status = (&message.head().status, self.messages, u64::from(core) * PAGE_BYTES);
        let args = [message.address(), 0, 0, 0, 0, 0];
        match spawn(&taken, (entry, top), args, &here.held, status) {
            Ok(_) => Ok(()),
            Err(error) => {
                // SAFETY: filled above with an `F`; nothing runs.
                unsafe { message.unfill::<F>() };
                Err(error)
            }
        }
    }

    fn message(&self, core: u16) -> Message {
        let at = messages_of(self.here.borrow().core) + u64::from(core) * PAGE_BYTES;
        // SAFETY: `run` mapped a page for each core, for the life of the scope, and a core runs one thread
        // of it at a time.
        unsafe { Message::at(at) }
    }

    /// Waits for the thread on `core` and gives the core back. Returns its end, when it was an early one.
    fn wait(&self, core: u16) -> (Message, Failure, Option<Running>) {
        let message = self.message(core);
        let ended = Thread::at(&message.head().status).join();
        let mut running = self.running.borrow_mut();
        let at = running.iter().position(|thread| thread.core == core);
        let thread = at.map(|at| running.swap_remove(at));
        if let Some(thread) = thread {
            let share = self.here.borrow().parent;
            // An error would mean that the share is gone already.
            let _ = sys().share_delobj(ObjRef { share, object: thread.share });
        }
        (message, Failure::end(core, ended), thread)
    }

    /// Waits for every thread that was not joined. Returns the first failure.
    fn join_all(&self) -> Result<(), Failure> {
        let mut result = Ok(());
        loop {
            let Some(core) = self.running.borrow().first().map(|thread| thread.core) else { return result };
            let (message, failure, thread) = self.wait(core);
            if let Some(thread) = thread {
                // SAFETY: the thread ended, `discard` is for its result, and nobody joined it.
                let good = unsafe { (thread.discard)(message) };
                result = if good { result } else { result.and(Err(failure)) };
            }
        }
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({} threads)", self.running.borrow().len())
    }
}

/// A thread. Dropped without [`Handle::join`], the thread keeps its core until the scope ends.
pub struct Handle<'scope, 'env: 'scope, T> {
    scope: &'scope Scope<'scope, 'env>,
    core: u16,
    result: PhantomData<T>,
}

impl<T> Handle<'_, '_, T> {
    /// The core it runs on.
    #[must_use]
    pub fn core(&self) -> u16 {
        self.core
    }

    /// Waits for its end, gives the core back, and returns the closure's result.
    ///
    /// # Errors
    ///
    /// Which core, and how the thread ended, when it did not return.
    pub fn join(self) -> Result<T, Failure> {
        let (message, failure, _) = self.scope.wait(self.core);
        // SAFETY: the thread ended, `T` is its result, and this handle, the only one, goes.
        unsafe { message.take::<T>() }.ok_or(failure)
    }
}

impl<T> fmt::Debug for Handle<'_, '_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle(core {})", self.core)
    }
}
