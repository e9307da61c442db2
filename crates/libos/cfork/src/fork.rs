//! Making the child.

use crate::error::CforkError;
use crate::place::{PAGES, Place};
use crate::plan::Plan;
use core::sync::atomic::Ordering;
use corey_abi::{
    Error, Home, Id, Kinds, MapFlags, Name, ObjRef, PAGE_BYTES, PcoreCalls, RUN_SHARES, RunContext,
    ShareCalls,
};
use corey_libos_rt::{Process, begin_copy, halt, shared};
use corey_libos_sys::fork::{Words, enter};
use corey_libos_sys::{address, fork_point, segment, sys};
use corey_libos_vm::{Ended, Space, Thread};

/// What a child halts with that cannot make a buffer for its console: its share has nothing to spare.
pub const NO_CONSOLE: u32 = 102;
/// Pages and objects a child may use beside what it begins with.
const SPARE: (u64, u64) = (256, 32);

/// A program that can be forked: where its children's ends are reported.
#[derive(Clone, Copy, Debug)]
pub struct Cfork {
    /// The segment of `place`.
    memory: ObjRef,
    place: &'static Place,
    spare: (u64, u64),
}

/// Who one is after a fork.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is no heap to box it in, and it is taken apart at once")]
pub enum Forked {
    /// The one that forked; its child runs.
    Parent(Child),
    /// The child, and what it has now.
    Child(Process),
}

/// A child that runs.
#[derive(Clone, Copy, Debug)]
pub struct Child {
    /// Its core.
    pub core: u16,
    thread: Thread<'static>,
}

impl Child {
    /// How it ended; `None` while it runs.
    #[must_use]
    pub fn poll(&self) -> Option<Ended> {
        self.thread.poll()
    }

    /// Waits for its end.
    #[must_use]
    pub fn join(self) -> Ended {
        self.thread.join()
    }
}

/// What the fork point works with.
struct Request<'a> {
    cfork: &'a Cfork,
    process: &'a Process,
    core: u16,
    shares: &'a [Id],
    result: Result<Child, CforkError>,
}

fork_point!(pass, fork, Request<'_>);

/// The parent's side. Returns 0.
extern "C" fn fork(request: &mut Request<'_>, stack: u64) -> u64 {
    request.result = make(request, stack);
    0
}

/// Makes and starts the child; on failure drops everything that was made.
fn make(request: &Request<'_>, stack: u64) -> Result<Child, CforkError> {
    let Request { cfork, process, core, .. } = *request;
    let call = |step| move |error| CforkError::Call(step, error);
    if u64::from(core) >= process.info.header.cores {
        return Err(CforkError::NoSuchCore(core));
    }
    // The console comes along.
    let mut held = heapless::Vec::<Id, RUN_SHARES>::new();
    for share in request.shares.iter().chain([&process.console]) {
        if !held.contains(share) && held.push(*share).is_err() {
            return Err(CforkError::Call("passing shares", Error::Full));
        }
    }
    let mut plan = cfork.place.plan();
    plan.read(process.space.tree)?;
    plan.check(&held)?;
    let (pages, objects) = plan.cost(&held, cfork.memory);
    let name = Name::new("cfork");
    let at = address(&name);
    let (pages, objects) = (pages + cfork.spare.0, objects + cfork.spare.1);
    let share = sys()
        .share_alloc(process.program, Kinds::all(), pages, objects, Home::Any, at)
        .map_err(call("the child's share"))?;
    let started = start(request, share, &held, &mut plan, stack);
    // From here on the share is the child's alone; without a child, nobody's.
    let _ = sys().share_delobj(ObjRef { share: process.program, object: share });
    let _ = sys().self_drop(share);
    started?;
    let (words, _) = cfork.place.words(core);
    Ok(Child { core, thread: Thread::at(words) })
}

fn start(
    request: &Request<'_>,
    share: Id,
    held: &[Id],
    plan: &mut Plan,
    stack: u64,
) -> Result<(), CforkError> {
    let Request { cfork, core, .. } = *request;
    let call = |step| move |error| CforkError::Call(step, error);
    let name = Name::new("cfork");
    let pcore = sys().pcore_alloc(share, u64::from(core), address(&name)).map_err(|error| match error {
        Error::Busy => CforkError::CoreTaken(core),
        other => CforkError::Call("taking the core", other),
    })?;
    let tree = Space::root(share, 0, "cfork").map_err(call("the child's root tree"))?.tree;
    plan.transfer(share, held, cfork.memory)?;
    plan.set(tree)?;
    let ([word, _], offset) = cfork.place.words(core);
    word.store(0, Ordering::Release);
    let mut context = RunContext {
        tree,
        nshares: held.len() as u64 + 1,
        entry: enter as *const () as u64,
        // Unused: the copy sets its own.
        stack,
        args: [stack, share.0, pcore.0, tree.object.0, 0, 0],
        status: cfork.memory,
        status_offset: offset,
        ..RunContext::default()
    };
    let all = [share].into_iter().chain(held.iter().copied());
    if held.len() >= RUN_SHARES {
        return Err(CforkError::Call("passing shares", Error::Full));
    }
    context.shares.iter_mut().zip(all).for_each(|(to, from)| *to = from);
    sys().pcore_run(ObjRef { share, object: pcore }, address(&context)).map_err(call("running the child"))
}

impl Cfork {
    /// Makes the memory where children's ends are reported. A child has new one in its place: to it, the children that its
    /// parent had run for ever.
    ///
    /// # Errors
    ///
    /// As `segment_alloc` and `at_set_slot`.
    pub fn new(process: &mut Process) -> Result<Self, Error> {
        let memory = segment(process.program, PAGES * PAGE_BYTES, "children")?;
        let (va, _) = process.space.map(memory, PAGES, MapFlags::WRITE)?;
        // SAFETY: just mapped, for good, all zeroes, and used for this only.
        Ok(Self { memory, place: unsafe { shared(va) }, spare: SPARE })
    }

    /// The same, with other numbers of pages and objects that each child may use beside what it begins with.
    #[must_use]
    pub fn with_spare(self, pages: u64, objects: u64) -> Self {
        Self { spare: (pages, objects), ..self }
    }

    /// Runs this program a second time on core `core`, from here on. Segments mapped in the root are copied on write,
    /// this stack among them; those mapped with [`MapFlags::SHARED`] and interior trees are shared. The child holds a
    /// share of its own, `shares`, and the console's.
    ///
    /// # Errors
    ///
    /// [`CforkError`]; the parent is then as before.
    pub fn cfork(&self, process: &mut Process, core: u16, shares: &[Id]) -> Result<Forked, CforkError> {
        let mut words: Words = [0; 4];
        let none = Err(CforkError::NoSuchCore(core));
        let mut request = Request { cfork: self, process, core, shares, result: none };
        if pass(&mut request, &mut words) == 0 {
            return request.result.map(Forked::Parent);
        }
        let [share, pcore, tree, _] = words;
        let named = |object| ObjRef { share: Id(share), object: Id(object) };
        match begin_copy(process, Id(share), named(pcore), named(tree)) {
            Ok(own) => Ok(Forked::Child(own)),
            // An error here would be taken for the parent's: nobody may go on as the parent.
            Err(_) => halt(NO_CONSOLE),
        }
    }
}
