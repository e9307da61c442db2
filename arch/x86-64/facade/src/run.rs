//! From the first instruction to the first program.

use crate::console::{self, println};
use crate::entries::{Ways, leave};
use crate::exit::{X86Machine, set_control};
use crate::lines::Lines;
use crate::panic::{set_symbols, stage};
use crate::platform::{
    X86, apic, kernel_root, set_apic, set_apic_id, set_cores, set_frequencies, set_kernel_root,
};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use corey_arch_x86_64_apic::{Clock, LocalApic, calibrate, delay};
use corey_arch_x86_64_asm::{cpuid, out8, wait_for_interrupt, write_cr3};
use corey_arch_x86_64_boot::processor::Processor;
use corey_arch_x86_64_boot::start::{Starting, arrived, low_page, start};
use corey_arch_x86_64_boot::{BootMemory, Facts, acpi, meltdown, topology};
use corey_arch_x86_64_cpu::{
    EntryPage, Features, IST_STACKS, enable_extensions, features, identity, interrupt_table, load, name,
};
use corey_arch_x86_64_paging::{KERNEL_BASE, Space, Stack, direct};
use corey_kernel_hal::{Boot, BootAlloc, BootInfo, Outcome, Range, Traps};

const GIB4: u64 = 1 << 32;

unsafe extern "C" {
    static corey_text: u8;
    static corey_entry_end: u8;
    static corey_rodata: u8;
    static corey_data: u8;
    static corey_end: u8;
    static corey_boot_root: u8;
}

/// Everything one core needs, in boot memory.
#[repr(C, align(128))]
struct PerCore<C> {
    page: &'static mut EntryPage,
    /// Filled by the core itself.
    kernel: UnsafeCell<MaybeUninit<C>>,
    /// What the core says about itself. Written by the core before it arrives.
    processor: UnsafeCell<Processor>,
    interrupts: &'static [[u64; 2]; 256],
}

/// The kernel, once it is prepared.
static KERNEL: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
/// Whether the other processors may go on.
static RELEASED: AtomicBool = AtomicBool::new(false);

/// Boots this machine into kernel `K`.
///
/// # Safety
///
/// Called once, by the entry code, with what it got from the loader: on the boot tables, interrupts off.
pub unsafe fn run<K: Boot<X86>>(kind: u64, information: u64) -> ! {
    console::init();
    println!("Corey {} on x86-64", env!("CARGO_PKG_VERSION"));
    Features::detect();
    assert!(features().nx.load(Ordering::Relaxed), "this processor has no non-executable pages (NX)");
    enable_extensions();
    // SAFETY: the caller's promise.
    let facts = unsafe { Facts::read(kind, information) };
    console::show_in(facts.framebuffer, GIB4);
    if let Some(complaint) = facts.complaint {
        log::warn!("{complaint}");
    }
    set_log_level(&facts.command_line);
    set_isolated(&facts.command_line);
    warn_of_meltdown();
    stage(1);
    let page = low_page(facts.ram.ranges(), &facts.used);
    let (mut memory, space) = map_memory(&facts);
    let archive = facts.archive.map(|r| {
        // SAFETY: a module the loader placed in RAM; it was cut out of free memory and stays.
        unsafe { core::slice::from_raw_parts(direct(r.start).cast_const(), (r.end - r.start) as usize) }
    });
    if let Some(archive) = archive {
        set_symbols(archive);
    }
    stage(2);
    let mapped_end = memory.ram_end().max(GIB4);
    // SAFETY: the direct map is live that far.
    let tables = unsafe { acpi::read(facts.rsdp, mapped_end) };
    let machine = tables.unwrap_or_else(|| {
        log::warn!("no ACPI tables: one core, and the interval timer as second clock");
        acpi::Machine::default()
    });
    if machine.left_out > 0 {
        log::warn!(
            "{} processors have APIC IDs above 254, which needs x2APIC mode: left out",
            machine.left_out
        );
    }
    if let Some(port) = machine.control {
        set_control(port);
    }
    set_apic(LocalApic::physical());
    let apic = apic().expect("just set");
    // The two old interrupt controllers stay silent.
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
    let own = apic.id();
    let others: heapless::Vec<u8, { corey_kernel_hal::MAX_CORES }> = machine
        .processors
        .iter()
        .copied()
        .filter(|id| *id != own)
        .take(corey_kernel_hal::MAX_CORES - 1)
        .collect();
    let interrupts = memory.slice(1, |_| [[0; 2]; 256]);
    interrupt_table::<Ways<K>>(&mut interrupts[0]);
    let interrupts: &'static [[u64; 2]; 256] = &interrupts[0];
    let pages = memory
        .slice(1 + others.len(), |core| EntryPage::new(core as u64, Stack::of(core, 0).top, urgent(core)));
    if features().isolated.load(Ordering::Relaxed) {
        pages.iter_mut().enumerate().for_each(|(core, page)| isolate(&mut memory, core, page, interrupts));
    }
    let mut pages = pages.iter_mut();
    let cores = memory.slice(1 + others.len(), |_| PerCore::<K::Core> {
        page: pages.next().expect("one for each core"),
        kernel: UnsafeCell::new(MaybeUninit::uninit()),
        processor: UnsafeCell::new(Processor::default()),
        interrupts,
    });
    let processors = memory.slice(cores.len(), |_| (u32::from(own), Processor::read(cpuid)));
    for core in 0..cores.len() {
        map_stacks(&mut memory, &space, core);
    }
    share_kernel_half();
    let mut waiting = cores.iter_mut();
    let first = waiting.next().expect("there is a boot processor");
    set_apic_id(0, own);
    // SAFETY: on the boot processor, once; everything lies in boot memory, which stays.
    unsafe { load_core::<K>(first) };
    apic.enable();
    let clock = machine.timer.map_or(Clock::Interval, Clock::PowerManagement);
    let frequencies = calibrate(apic, clock);
    set_frequencies(frequencies);
    let started = match page {
        Some(page) if !others.is_empty() => {
            let mut rest = waiting;
            let mut ids = others.iter();
            let mut current = rest.next();
            let (mut count, mut id) = (0, 0);
            let mut next = |came: Option<bool>| {
                if came == Some(true) {
                    count += 1;
                    set_apic_id(count, id);
                    if let Some((core, processor)) = current.as_deref().zip(processors.get_mut(count)) {
                        // SAFETY: the core wrote it before it arrived, and nobody writes it afterwards.
                        *processor = (id.into(), unsafe { *core.processor.get() });
                    }
                    current = rest.next();
                } else if came == Some(false) {
                    log::warn!("the processor with APIC ID {id} does not start: left out");
                }
                id = *ids.next()?;
                let core = current.as_deref_mut()?;
                let argument = core::ptr::from_mut(core) as u64;
                Some(Starting { id, stack: core.page.block.stack, argument })
            };
            // SAFETY: a free page; the cores' stacks are mapped, their arguments are their own `PerCore`.
            unsafe { start(apic, frequencies, page, &others, other_core::<K>, &mut next) };
            count
        }
        Some(_) => 0,
        None => {
            log::warn!("no free page below 640 KiB to start other processors from");
            0
        }
    };
    set_cores(started + 1);
    let mut wait = |microseconds: u32| delay(apic, frequencies, microseconds.into());
    let mut lines = Lines::new(&machine.controllers, &machine.overrides, GIB4);
    let cards = crate::cards::find(GIB4, &mut lines, &mut wait, &mut memory);
    lines.publish(&mut memory);
    stage(3);
    let processors = processors.get(..=started).expect("the boot processor and those that started");
    let topology = topology::build(processors, machine.affinity.as_ref(), machine.distances, &mut memory);
    let texts = memory.slice(1, |_| (facts.command_line.clone(), name()));
    let place = memory.slice(1, |_| MaybeUninit::<K>::uninit());
    let info = BootInfo {
        command_line: texts[0].0.as_str(),
        topology,
        archive,
        tsc_hz: frequencies.tsc,
        hypervisor: features().hypervisor.load(Ordering::Relaxed),
        cpu: texts[0].1.as_str(),
    };
    log::info!("{} cores, {}, {} MHz", started + 1, info.cpu, info.tsc_hz / 1_000_000);
    if topology.nodes > 0 {
        log::info!("{} memory nodes", topology.nodes);
    }
    let kernel = place[0].write(K::prepare(info, &X86Machine, cards, X86::here(), &mut memory));
    KERNEL.store(core::ptr::from_mut(kernel).cast(), Ordering::Release);
    RELEASED.store(true, Ordering::SeqCst);
    for core in 1..=started {
        use corey_kernel_hal::Platform;
        X86::here().send_ipi(corey_kernel_hal::CoreId(core as u16));
    }
    stage(4);
    // SAFETY: this core's own stack; nothing of the boot stack is needed any more.
    unsafe { on_own_stack(core::ptr::from_mut(first) as u64, first.page.block.stack, core_main::<K>) }
}

/// Words of the command line that the machine itself understands.
fn set_log_level(command_line: &str) {
    let level = command_line.split_whitespace().find_map(|w| w.strip_prefix("log="));
    match level.map(str::parse::<log::LevelFilter>) {
        Some(Ok(level)) => log::set_max_level(level),
        Some(Err(_)) => log::warn!("log= takes off, error, warn, info, debug or trace"),
        None => {}
    }
}

/// Whether user mode is to have tables of its own (page-table isolation).
fn set_isolated(command_line: &str) {
    match command_line.split_whitespace().find_map(|w| w.strip_prefix("pti=")) {
        Some("on") => features().isolated.store(true, Ordering::Relaxed),
        None | Some("off") => {}
        Some(_) => log::warn!("pti= takes on or off; it is off"),
    }
}

/// Tops of a core's stacks for NMI, double fault and machine check.
fn urgent(core: usize) -> [u64; IST_STACKS] {
    core::array::from_fn(|number| Stack::of(core, number + 1).top)
}

/// Makes the tables that user mode runs on, on core `core`: of the kernel they map what the ways into it need, and no more.
fn isolate(memory: &mut BootMemory, core: usize, page: &mut EntryPage, interrupts: &'static [[u64; 2]; 256]) {
    let space = Space::bare(memory);
    let (text, end) = (&raw const corey_text, &raw const corey_entry_end);
    space.map(memory, text as u64, physical(text), end as u64 - text as u64, false, true);
    for (at, write) in [(core::ptr::from_ref(page) as u64, true), (interrupts.as_ptr() as u64, false)] {
        space.map(memory, at, at - direct(0) as u64, corey_kernel_hal::PAGE_SIZE, write, false);
    }
    page.isolate(
        space.root(),
        direct(space.root()) as u64,
        kernel_root(),
        Stack::of(core, 0).top,
        urgent(core),
    );
}

/// Names a processor on which the kernel's half of an address space is no secret.
fn warn_of_meltdown() {
    let mut vendor = heapless::String::new();
    let (family, model, capabilities) = identity(&mut vendor);
    if meltdown::is_prone(meltdown::Identity { vendor: &vendor, family, model, capabilities }) {
        log::warn!(
            "{vendor} family {family:#x} model {model:#x} is prone to Meltdown: {}",
            if features().isolated.load(Ordering::Relaxed) {
                "programs run on tables without the kernel's memory (pti=on)"
            } else {
                "programs can read all memory (pti=on: they run on tables without the kernel's)"
            }
        );
    }
}

fn physical(symbol: *const u8) -> u64 {
    symbol as u64 - KERNEL_BASE
}

/// Builds and loads the kernel's half, and finds what RAM is free.
fn map_memory(facts: &Facts) -> (BootMemory, Space) {
    let end = physical(&raw const corey_end);
    let mut free = corey_arch_x86_64_boot::memory::Pieces::default();
    for piece in facts.ram.ranges() {
        // The description held that many pieces, so this does.
        let _ = free.add(*piece);
    }
    // The first MiB belongs to firmware and start code.
    free.remove(Range { start: 0, end: 1 << 20 });
    free.remove(Range { start: 1 << 20, end });
    for used in &facts.used {
        free.remove(*used);
    }
    // SAFETY: RAM by the loader's word, less the image, the modules and the loader's structures.
    let mut memory = unsafe { BootMemory::new(free) };
    let space = Space::new(&mut memory, features().huge.load(Ordering::Relaxed));
    let mut at = 0;
    for piece in facts.ram.ranges() {
        if at < piece.start && at < GIB4 {
            let bytes = piece.start.min(GIB4) - at;
            space.map_device(&mut memory, direct(at) as u64, at, bytes);
        }
        // Text and constants cannot be written under their other address either.
        let fixed = [physical(&raw const corey_text), physical(&raw const corey_data)];
        let [from, to] = fixed.map(|edge| edge.clamp(piece.start, piece.end));
        for (start, end, write) in [(piece.start, from, true), (from, to, false), (to, piece.end, true)] {
            space.map(&mut memory, direct(start) as u64, start, end - start, write, false);
        }
        at = piece.end;
    }
    if at < GIB4 {
        space.map_device(&mut memory, direct(at) as u64, at, GIB4 - at);
    }
    let parts = [
        (&raw const corey_text, &raw const corey_rodata, false, true),
        (&raw const corey_rodata, &raw const corey_data, false, false),
        (&raw const corey_data, &raw const corey_end, true, false),
    ];
    for (from, to, write, execute) in parts {
        space.map(&mut memory, from as u64, physical(from), to as u64 - from as u64, write, execute);
    }
    set_kernel_root(space.root());
    // SAFETY: the space maps the image, the stack in it, and all RAM where they are now.
    unsafe { write_cr3(kernel_root()) };
    memory.all_mapped();
    (memory, space)
}

fn map_stacks(memory: &mut BootMemory, space: &Space, core: usize) {
    for number in 0..=IST_STACKS {
        let stack = Stack::of(core, number);
        let from = memory.take(stack.bytes());
        space.map(memory, stack.bottom, from, stack.bytes(), true, false);
    }
}

/// Gives the boot tables, on which other processors start, the kernel's half.
fn share_kernel_half() {
    let to = direct(&raw const corey_boot_root as u64).cast::<u64>().wrapping_add(256);
    let from = direct(kernel_root()).cast::<u64>().wrapping_add(256);
    // SAFETY: two different frames; the boot tables are loaded nowhere now.
    unsafe { core::ptr::copy_nonoverlapping(from, to, 256) };
}

/// Loads a core's tables.
///
/// # Safety
///
/// On the core itself, once.
unsafe fn load_core<K: Boot<X86>>(core: &mut PerCore<K::Core>) {
    core.page.block.own = &raw const core.page.block as u64;
    *core.page.block.kernel.get_mut() = core.kernel.get() as u64;
    // SAFETY: boot memory stays; nobody else refers to this core's structure yet, and its kernel's cell is
    // reached by address only.
    let core: &'static mut PerCore<K::Core> = unsafe { &mut *core::ptr::from_mut(core) };
    // SAFETY: the caller's promise.
    unsafe { load::<Ways<K>>(core.page, core.interrupts) };
}

/// Where other processors enter: on the boot tables, their own stack, interrupts off.
extern "C" fn other_core<K: Boot<X86>>(argument: u64) -> ! {
    // SAFETY: complete from before this processor started.
    unsafe { write_cr3(kernel_root()) };
    // SAFETY: `start` got it from `run`, for this processor alone.
    let core = unsafe { &mut *(argument as *mut PerCore<K::Core>) };
    *core.processor.get_mut() = Processor::read(cpuid);
    // SAFETY: on the core itself, once.
    unsafe { load_core::<K>(core) };
    if let Some(apic) = apic() {
        apic.enable();
    }
    arrived();
    while !RELEASED.load(Ordering::SeqCst) {
        wait_for_interrupt();
    }
    core_main::<K>(argument)
}

/// Continues on another stack.
///
/// # Safety
///
/// `stack` is the top of a mapped stack nobody uses.
unsafe fn on_own_stack(argument: u64, stack: u64, entry: extern "C" fn(u64) -> !) -> ! {
    // SAFETY: the caller's promise; what is on the old stack is given up.
    unsafe {
        core::arch::asm!(
            "mov rsp, {stack}",
            "xor ebp, ebp",
            "call {entry}",
            "ud2",
            stack = in(reg) stack,
            entry = in(reg) entry,
            in("rdi") argument,
            options(noreturn),
        )
    }
}

/// One core's life.
extern "C" fn core_main<K: Boot<X86>>(argument: u64) -> ! {
    let kernel = KERNEL.load(Ordering::Acquire).cast::<K>();
    // SAFETY: stored before the release, and stays.
    let kernel: &'static K = unsafe { &*kernel };
    // SAFETY: this core's own, in boot memory.
    let core = unsafe { &*(argument as *const PerCore<K::Core>) };
    // SAFETY: this core alone reaches the cell, and nobody has a reference yet.
    let own = unsafe { (*core.kernel.get()).write(kernel.start(X86::here())) };
    let outcome: Outcome = own.idle();
    leave::<K>(outcome)
}
