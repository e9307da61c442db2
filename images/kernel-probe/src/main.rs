//! The kernel, looked at from inside.
//!
//! The same machine and the same kernel as `images/kernel`, with a layer between them: each entry of every core looks
//! at the processor's state ([`watch`]), and `probe=NAME core=N` on the command line does, in ring 0 and before the
//! first program, what the processor must refuse ([`probe`]). `off` as one more word turns the protection off first:
//! the probe must then be allowed, or it would prove nothing. One more call makes a core stop ([`fail`]).
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "does what is forbidden; the entry code calls it by name")]

mod fail;
mod probe;
mod watch;

use corey_arch_x86_64::X86;
use corey_kernel_corey::{Core, System};
use corey_kernel_hal::{Area, Boot, BootAlloc, BootInfo, CoreId, Injected, Machine, NetworkCard, Platform};
use probe::Probe;
use watch::Watch;

/// The kernel, and what is to be tried.
struct Probed {
    system: System<X86>,
    probe: Option<Probe>,
}

impl Boot<X86> for Probed {
    type Core = Watch<Core<X86>>;

    fn prepare(
        info: BootInfo,
        machine: &'static dyn Machine,
        cards: &'static mut [&'static mut dyn NetworkCard],
        platform: X86,
        alloc: &mut impl BootAlloc,
    ) -> Self {
        let probe = Probe::new(info.command_line, machine, &platform, alloc);
        Self { system: System::prepare(info, machine, cards, platform, alloc), probe }
    }

    fn start(&'static self, platform: X86) -> Self::Core {
        let core = platform.core();
        if let Some(probe) = self.probe.as_ref().filter(|probe| probe.core == core) {
            probe.run(&platform);
        }
        Watch::new(self.system.start(platform), core, platform)
    }

    fn injected(core: CoreId) -> Option<Injected> {
        fail::at_nmi(core)
    }

    fn map(&self, each: &mut dyn FnMut(Area)) {
        self.system.map(each);
    }
}

/// Where the entry code arrives, in long mode, on the boot tables.
#[unsafe(no_mangle)]
extern "C" fn corey_kernel_entry(loader: u64, information: u64) -> ! {
    // SAFETY: called by the entry code, once, with what the loader passed.
    unsafe { corey_arch_x86_64::run::<Probed>(loader, information) }
}
