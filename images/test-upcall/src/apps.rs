//! Two applications in address spaces of their own, with disjoint shares, on one core, by turns. The supervisor on
//! core 0 starts one, gives it a time slice, and starts the other when that is over.
//!
//! Each keeps a pattern of its own in all registers, FPU included, and checks it all the time. What it finds on
//! its very first instruction must be zero. Its handler saves the context in its own memory and halts the pcore.

use crate::canary::{Birth, Canary, form};
use core::arch::naked_asm;
use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{Error, Id, Kinds, MapFlags, Name, ObjRef, PAGE_BYTES, PcoreCalls, ShareCalls, mapping_kind};
use corey_libos_rt::sys::{address, segment, sys};
use corey_libos_rt::vm::{Core, Ended, Space, spawn};
use corey_libos_rt::{Process, halt};
use corey_libos_test::{Fixture, Suite};
use corey_libos_upcall::{Context, Handler, resume, upcall_entry};

/// What a handler halts with when the time slice is over.
const YIELD: u32 = 77;
/// Rounds of both.
const ROUNDS: u64 = 20;
const SLICE: u64 = 150_000;

/// Pages between an application and the supervisor.
#[repr(C)]
struct Page {
    /// What it found on its first instruction.
    birth: Birth,
    canary: Canary,
    /// Times the pattern was found whole.
    good: AtomicU64,
    /// What was wrong, all together.
    wrong: AtomicU64,
    /// Where the last context was saved.
    context: AtomicU64,
    /// Where it was interrupted last.
    stopped: AtomicU64,
}
const PAGES: u64 = (size_of::<Page>() as u64).div_ceil(PAGE_BYTES);

upcall_entry!(tick_entry, on_tick);

/// The end of a time slice: leaves the context where the supervisor finds it.
extern "C" fn on_tick(context: &mut Context) -> *const Context {
    let handler = Handler::of(context);
    // SAFETY: `start` mapped the page there before the application ran.
    let page = unsafe { &*(handler.data() as *const Page) };
    page.context.store(core::ptr::from_ref(context) as u64, Ordering::Release);
    let [vector, ..] = context.event;
    let [rip, ..] = context.frame;
    page.stopped.store(rip, Ordering::Relaxed);
    halt(if vector == 32 { YIELD } else { vector as u32 })
}

/// Goes on with a saved context: `resume` in a form the kernel can enter.
extern "C" fn go_on(context: u64, masked: u64) -> ! {
    // SAFETY: the supervisor passes what `on_tick` left; upcalls are masked since then.
    unsafe { resume(context as *const Context, masked as *mut u64) }
}

/// The application: writes down what it finds, then fills all registers and checks them for ever.
#[unsafe(naked)]
extern "C" fn application(page: u64, number: u64, form: u64) -> ! {
    // No instruction before `record` changes a flag.
    naked_asm!(
        "lea rsp, [rsp - 8]",
        "call {record}",
        "call {body}",
        "ud2",
        record = sym Birth::record, body = sym check_for_ever,
    )
}

extern "C" fn check_for_ever(page: u64, number: u64, form: u64) -> ! {
    // SAFETY: the supervisor mapped it; it reads only atomics while this runs, and the rest between turns.
    let page = unsafe { &mut *(page as *mut Page) };
    page.canary = Canary::new(number, form);
    loop {
        Canary::hold(&mut page.canary, 5_000);
        page.wrong.fetch_or(page.canary.wrong(), Ordering::Relaxed);
        page.good.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads an address: an application that looks for the other's page.
extern "C" fn thief(at: u64) -> ! {
    // SAFETY: the fault is what is tested.
    unsafe { (at as *const u64).read_volatile() };
    halt(1)
}

/// An application as the supervisor has it.
struct App {
    core: Core,
    handler: Handler,
    page: &'static Page,
    object: ObjRef,
    /// Where the supervisor maps it.
    slot: u64,
    page_va: u64,
    stack: u64,
    started: bool,
    number: u64,
}

/// A share with a root tree, stack, handler and page of its own. The image is mapped so that it cannot be written.
fn make(process: &mut Process, pcore: ObjRef, number: u64) -> Result<App, Error> {
    let name = Name::new("application");
    let share =
        sys().share_alloc(process.boot, Kinds::all(), 1024, 32, corey_abi::Home::Any, address(&name))?;
    sys().share_addobj(share, pcore)?;
    let mut space = Space::root(share, 0, "application")?;
    space.mirror(&process.space, &mut |mapping| {
        mapping.kind == mapping_kind::SEGMENT
            && MapFlags::from_bits_truncate(mapping.flags).contains(MapFlags::EXECUTE)
    })?;
    // Constants lie in pages that are neither executable nor writable; statics stay out.
    space.mirror(&process.space, &mut |mapping| {
        mapping.kind == mapping_kind::SEGMENT && mapping.flags == 0 && mapping.va < 1 << 31
    })?;
    let object = segment(share, PAGES * PAGE_BYTES, "page")?;
    let (page_va, _) = space.map(object, PAGES, MapFlags::WRITE)?;
    let stack = segment(share, 8 * PAGE_BYTES, "stack")?;
    let (stack_va, _) = space.map(stack, 8, MapFlags::WRITE)?;
    // The handler's data word is written through the supervisor's own mapping: the space is not its own.
    let handler =
        Handler::prepare(&mut process.space, &mut space, share, tick_entry as *const () as u64, page_va)?;
    let (own, slot) = process.space.map(object, PAGES, MapFlags::WRITE)?;
    // SAFETY: just mapped, for good, and used as this only; its application does not run yet.
    unsafe { (own as *mut Page).cast::<Birth>().write(Birth::NONE) };
    let core = Core { share, parent: process.boot, pcore: ObjRef { share, object: pcore.object }, space };
    Ok(App {
        core,
        handler,
        // SAFETY: as above.
        page: unsafe { &*(own as *const Page) },
        object,
        slot,
        page_va,
        stack: stack_va + 8 * PAGE_BYTES,
        started: false,
        number,
    })
}

impl App {
    /// Runs it for one time slice.
    fn turn(&mut self, fixture: &Fixture) -> Result<Ended, Error> {
        let status = fixture.status(1);
        status.0[0].store(0, Ordering::Release);
        let (entry, stack, args) = if self.started {
            let context = self.page.context.load(Ordering::Acquire);
            // On the handler's stack, below the context: the application's own is as it was interrupted.
            (go_on as *const () as u64, context, [context, self.handler.masked() as u64, 0, 0, 0, 0])
        } else {
            (application as *const () as u64, self.stack, [self.page_va, self.number, form(), 0, 0, 0])
        };
        self.started = true;
        let thread = spawn(&self.core, (entry, stack - 8), args, &[], status)?;
        sys().pcore_set_interval(self.core.pcore, SLICE)?;
        Ok(thread.join())
    }
}

pub(crate) fn supervise(suite: &mut Suite, process: &mut Process) {
    if process.info.header.cores < 2 {
        return suite.check("two applications on one core", true, "one core: the supervisor has it");
    }
    let Some(fixture) = suite.works("a status page", Fixture::new(process)) else { return };
    let name = Name::new("supervised");
    let Some(pcore) = suite.works("a core", sys().pcore_alloc(process.program, 1, address(&name))) else {
        return;
    };
    let pcore = ObjRef { share: process.program, object: pcore };
    let Some(mut a) = suite.works("application A", make(process, pcore, 4)) else {
        return;
    };
    let Some(mut b) = suite.works("application B", make(process, pcore, 11)) else {
        return;
    };
    let (mut wrong_ends, mut round) = (0, 0);
    // A slice is short: on a busy machine it may be over before a look at all registers is.
    let enough = |app: &App| app.page.good.load(Ordering::Relaxed) > ROUNDS;
    while round < ROUNDS || round < 100 * ROUNDS && !(enough(&a) && enough(&b)) {
        round += 1;
        for app in [&mut a, &mut b] {
            let ended = app.turn(&fixture);
            if ended != Ok(Ended::Halted(YIELD)) {
                wrong_ends += 1;
                let at = app.page.stopped.load(Ordering::Relaxed);
                suite.check("a turn ends by its tick", false, format_args!("{ended:?} at {at:#x}"));
                break;
            }
        }
        if wrong_ends > 0 {
            break;
        }
    }
    for (app, name) in [(&a, "A"), (&b, "B")] {
        let read = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let (good, wrong) = (read(&app.page.good), read(&app.page.wrong));
        suite.check(
            "it ran, and found its own registers ever after",
            good > ROUNDS && wrong == 0 && wrong_ends == 0,
            format_args!("{name}: {good} good, {wrong:#x} wrong"),
        );
        suite.check(
            "its first instruction found nothing of the other",
            app.page.birth.is_clean(),
            format_args!("{name}: form {}", form()),
        );
    }
    // B looks where A's memory is in A's space, and in the supervisor's.
    let own = core::ptr::from_ref(a.page) as u64;
    for at in [own, a.stack - 4096 + (1 << 40)] {
        let status = fixture.status(1);
        status.0[0].store(0, Ordering::Release);
        let entry = thief as extern "C" fn(u64) -> ! as usize as u64;
        let ended = spawn(&b.core, (entry, b.stack - 8), [at, 0, 0, 0, 0, 0], &[], status).map(|t| t.join());
        // Upcalls are masked since its last turn: the fault ends it.
        suite.equal("what is not B's, B does not see", ended, Ok(Ended::Fault(14, at)));
    }
    // What A wrote does not come to anybody else with the page it is in.
    suite.works("A's pages go", process.space.unmap(a.slot));
    suite.works("and end", sys().share_delobj(a.object));
    let next = segment(b.core.share, 4 * PAGES * PAGE_BYTES, "next").and_then(|object| {
        let (va, _) = process.space.map(object, 4 * PAGES, MapFlags::WRITE)?;
        let words = 4 * PAGES * PAGE_BYTES / 8;
        // SAFETY: just mapped.
        Ok((0..words).all(|n| unsafe { ((va + 8 * n) as *const u64).read_volatile() } == 0))
    });
    suite.equal("pages come empty", next, Ok(true));
    for app in [a, b] {
        app.core.release();
    }
    let gone = Id(pcore.object.0);
    suite.works("the core is free", sys().share_delobj(ObjRef { share: process.program, object: gone }));
}
