//! Two applications in address spaces of their own, with disjoint shares, on one core, by turns. The supervisor on
//! core 0 starts one, gives it a time slice, and starts the other when that is over.
//!
//! Each keeps a pattern of its own in all registers, FPU included, and checks it all the time. What it finds on
//! its very first instruction must be zero. Its handler saves the context in its own memory and halts the pcore.

use core::arch::naked_asm;
use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{Error, Id, Kinds, MapFlags, Name, ObjRef, PAGE_BYTES, PcoreCalls, ShareCalls, mapping_kind};
use corey_libos_rt::sys::{address, segment, sys};
use corey_libos_rt::vm::{Core, Ended, Space, spawn};
use corey_libos_rt::{Process, halt, shared};
use corey_libos_test::{Fixture, Suite};
use corey_libos_upcall::{Context, Handler, resume, upcall_entry};

/// What a handler halts with when the time slice is over.
const YIELD: u32 = 77;
/// Rounds of both.
const ROUNDS: u64 = 20;
const SLICE: u64 = 150_000;

/// A page between an application and the supervisor.
#[repr(C)]
struct Page {
    /// Times the pattern was found whole.
    good: AtomicU64,
    /// Registers that were wrong.
    wrong: AtomicU64,
    /// Registers that were not zero at the first instruction.
    dirty: AtomicU64,
    /// Where the last context was saved.
    context: AtomicU64,
}
// SAFETY: atomics; zero is valid.
unsafe impl corey_libos_rt::Shared for Page {}

upcall_entry!(tick_entry, on_tick);

/// The end of a time slice: leaves the context where the supervisor finds it.
extern "C" fn on_tick(context: &mut Context) -> *const Context {
    let handler = Handler::of(context);
    // SAFETY: `start` mapped the page there before the application ran.
    let page: &Page = unsafe { shared(handler.data()) };
    page.context.store(core::ptr::from_ref(context) as u64, Ordering::Release);
    let [vector, ..] = context.event;
    halt(if vector == 32 { YIELD } else { vector as u32 })
}

/// Goes on with a saved context: `resume` in a form the kernel can enter.
extern "C" fn go_on(context: u64, masked: u64) -> ! {
    // SAFETY: the supervisor passes what `on_tick` left; upcalls are masked since then.
    unsafe { resume(context as *const Context, masked as *mut u64) }
}

/// The application: rdi = page, rsi = pattern. Counts what is not zero, fills all registers, checks them for ever.
#[unsafe(naked)]
extern "C" fn application(_: u64, _: u64) -> ! {
    naked_asm!(
        // Everything but the two arguments is zero at the start.
        "mov rsp, rsp",
        "or rax, rbx",
        "or rax, rcx",
        "or rax, rdx",
        "or rax, rbp",
        "or rax, r8",
        "or rax, r9",
        "or rax, r10",
        "or rax, r11",
        "or rax, r12",
        "or rax, r13",
        "or rax, r14",
        "or rax, r15",
        "por xmm0, xmm1",
        "por xmm0, xmm2",
        "por xmm0, xmm3",
        "por xmm0, xmm4",
        "por xmm0, xmm5",
        "por xmm0, xmm6",
        "por xmm0, xmm7",
        "por xmm0, xmm8",
        "por xmm0, xmm9",
        "por xmm0, xmm10",
        "por xmm0, xmm11",
        "por xmm0, xmm12",
        "por xmm0, xmm13",
        "por xmm0, xmm14",
        "por xmm0, xmm15",
        "movq rbx, xmm0",
        "or rax, rbx",
        "psrldq xmm0, 8",
        "movq rbx, xmm0",
        "or rax, rbx",
        "mov [rdi + 16], rax",
        // The pattern, everywhere.
        "mov rax, rsi",
        "mov rbx, rsi",
        "mov rcx, rsi",
        "mov rdx, rsi",
        "mov rbp, rsi",
        "mov r8, rsi",
        "mov r9, rsi",
        "mov r10, rsi",
        "mov r11, rsi",
        "mov r12, rsi",
        "mov r13, rsi",
        "mov r14, rsi",
        "mov r15, rsi",
        "movq xmm0, rsi",
        "movddup xmm0, xmm0",
        "movaps xmm1, xmm0",
        "movaps xmm2, xmm0",
        "movaps xmm3, xmm0",
        "movaps xmm4, xmm0",
        "movaps xmm5, xmm0",
        "movaps xmm6, xmm0",
        "movaps xmm7, xmm0",
        "movaps xmm8, xmm0",
        "movaps xmm9, xmm0",
        "movaps xmm10, xmm0",
        "movaps xmm11, xmm0",
        "movaps xmm12, xmm0",
        "movaps xmm13, xmm0",
        "movaps xmm14, xmm0",
        "movaps xmm15, xmm0",
        "2:",
        "cmp rax, rsi",
        "jne 3f",
        "cmp rbx, rsi",
        "jne 3f",
        "cmp rcx, rsi",
        "jne 3f",
        "cmp rdx, rsi",
        "jne 3f",
        "cmp rbp, rsi",
        "jne 3f",
        "cmp r8, rsi",
        "jne 3f",
        "cmp r9, rsi",
        "jne 3f",
        "cmp r10, rsi",
        "jne 3f",
        "cmp r11, rsi",
        "jne 3f",
        "cmp r12, rsi",
        "jne 3f",
        "cmp r13, rsi",
        "jne 3f",
        "cmp r14, rsi",
        "jne 3f",
        "cmp r15, rsi",
        "jne 3f",
        // Each SSE register in turn against the first, and that against rsi.
        "movq rax, xmm0",
        "cmp rax, rsi",
        "jne 3f",
        "movq rax, xmm1",
        "cmp rax, rsi",
        "jne 3f",
        "movq rax, xmm7",
        "cmp rax, rsi",
        "jne 3f",
        "movq rax, xmm8",
        "cmp rax, rsi",
        "jne 3f",
        "movq rax, xmm15",
        "cmp rax, rsi",
        "jne 3f",
        "inc qword ptr [rdi]",
        "jmp 2b",
        "3:",
        "inc qword ptr [rdi + 8]",
        "mov rax, rsi",
        "mov rbx, rsi",
        "mov rcx, rsi",
        "mov rdx, rsi",
        "mov rbp, rsi",
        "mov r8, rsi",
        "mov r9, rsi",
        "mov r10, rsi",
        "mov r11, rsi",
        "mov r12, rsi",
        "mov r13, rsi",
        "mov r14, rsi",
        "mov r15, rsi",
        "jmp 2b",
    )
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
    page_va: u64,
    stack: u64,
    started: bool,
    pattern: u64,
}

/// A share with a root tree, stack, handler and page of its own. The image is mapped so that it cannot be written.
fn make(process: &mut Process, pcore: ObjRef, pattern: u64) -> Result<App, Error> {
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
    let page = segment(share, PAGE_BYTES, "page")?;
    let (page_va, _) = space.map(page, 1, MapFlags::WRITE)?;
    let stack = segment(share, 8 * PAGE_BYTES, "stack")?;
    let (stack_va, _) = space.map(stack, 8, MapFlags::WRITE)?;
    // The handler's data word is written through the supervisor's own mapping: the space is not its own.
    let handler =
        Handler::prepare(&mut process.space, &mut space, share, tick_entry as *const () as u64, page_va)?;
    let (own, _) = process.space.map(page, 1, MapFlags::WRITE)?;
    let core = Core { share, parent: process.boot, pcore: ObjRef { share, object: pcore.object }, space };
    Ok(App {
        core,
        handler,
        // SAFETY: just mapped, for good, and used as this only.
        page: unsafe { shared(own) },
        page_va,
        stack: stack_va + 8 * PAGE_BYTES,
        started: false,
        pattern,
    })
}

impl App {
    /// Runs it for one time slice.
    fn turn(&mut self, fixture: &Fixture) -> Result<Ended, Error> {
        let status = fixture.status(1);
        status.0[0].store(0, Ordering::Release);
        let (entry, args) = if self.started {
            let context = self.page.context.load(Ordering::Acquire);
            (go_on as *const () as u64, [context, self.handler.masked() as u64, 0, 0, 0, 0])
        } else {
            (application as *const () as u64, [self.page_va, self.pattern, 0, 0, 0, 0])
        };
        self.started = true;
        let thread = spawn(&self.core, (entry, self.stack - 8), args, &[], status)?;
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
    let Some(mut a) = suite.works("application A", make(process, pcore, 0xaaaa_5555_aaaa_5555)) else {
        return;
    };
    let Some(mut b) = suite.works("application B", make(process, pcore, 0x1234_8765_0f0f_f0f0)) else {
        return;
    };
    let mut wrong_ends = 0;
    for _ in 0..ROUNDS {
        for app in [&mut a, &mut b] {
            let ended = app.turn(&fixture);
            if ended != Ok(Ended::Halted(YIELD)) {
                wrong_ends += 1;
                suite.check("a turn ends by its tick", false, format_args!("{ended:?}"));
                break;
            }
        }
        if wrong_ends > 0 {
            break;
        }
    }
    for (app, name) in [(&a, "A"), (&b, "B")] {
        let read = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let (good, wrong, dirty) = (read(&app.page.good), read(&app.page.wrong), read(&app.page.dirty));
        suite.check(
            "it ran, its registers were zero at first and its own ever after",
            good > ROUNDS && wrong == 0 && dirty == 0 && wrong_ends == 0,
            format_args!("{name}: {good} good, {wrong} wrong, {dirty:#x} dirty"),
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
    for app in [a, b] {
        app.core.release();
    }
    let gone = Id(pcore.object.0);
    suite.works("the core is free", sys().share_delobj(ObjRef { share: process.program, object: gone }));
}
