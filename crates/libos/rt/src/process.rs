//! What a program has at its start, and how it ends.

use crate::console;
use crate::heaps;
use crate::info::Info;
use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{Error, Id, MachineCalls, ObjRef, PcoreCalls, ShareCalls, control};
use corey_libos_sys::{pause, sys};
use corey_libos_vm::Space;

/// How the run ends: the machine's exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// All is well.
    Success,
    /// Tests failed.
    Failed,
    /// The command line is wrong.
    BadCommandLine,
}

/// What a program has at its start.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// What it was told.
    pub info: Info,
    /// The share that is the key to the machine, and names everything made at boot.
    pub boot: Id,
    /// The share that names the program's own objects.
    pub program: Id,
    /// The share that names the console.
    pub console: Id,
    /// Its pcore.
    pub pcore: ObjRef,
    /// Its address space.
    pub space: Space,
}

static BOOT: AtomicU64 = AtomicU64::new(0);
static FIRST: AtomicU64 = AtomicU64::new(0);

/// Makes the process from the information at `address`. Ends what ran before on this core.
///
/// # Panics
///
/// When there is no console.
#[must_use]
pub fn begin(address: u64) -> Process {
    let info = Info::read(address);
    let header = &info.header;
    let tree = ObjRef { share: header.program, object: header.tree };
    let mut space = Space::new(tree, header.free_va, header.free_slot);
    BOOT.store(header.share.0, Ordering::Relaxed);
    FIRST.store(header.first, Ordering::Relaxed);
    console::open(header.share, header.program, &mut space).expect("every program has a console");
    heaps::set_aside(&mut space, header.program, header.cores as u32, checking(&info));
    if header.previous != Id::NULL {
        let gone = ObjRef { share: header.share, object: header.previous };
        sys().share_delobj(gone).expect("the program before is named in the boot share");
    }
    Process {
        info,
        boot: header.share,
        program: header.program,
        console: console::share(),
        pcore: sys().pcore_current().expect("a program runs on a pcore"),
        space,
    }
}

/// Whether the command line asks for heaps in checking mode. A word it does not know ends the program.
fn checking(info: &Info) -> bool {
    let words = info.command_line().split_whitespace();
    match words.filter_map(|word| word.strip_prefix("heap=")).next_back() {
        None | Some("fast") => false,
        Some("check") => true,
        Some(other) => {
            crate::println!("heap={other}: valid are fast and check");
            exit(Status::BadCommandLine)
        }
    }
}

/// Makes the process of a copy of this program, which begins on another core with `program` as its own share; it
/// does not hold the boot share.
///
/// # Errors
///
/// As the calls that make a console buffer.
pub fn begin_copy(of: &Process, program: Id, pcore: ObjRef, tree: ObjRef) -> Result<Process, Error> {
    FIRST.store(0, Ordering::Relaxed);
    let mut space = of.space;
    space.tree = tree;
    heaps::begin_copy(program, tree.object);
    console::reopen(program, &mut space)?;
    Ok(Process { program, pcore, space, ..*of })
}

/// Ends the program: with the first one the machine's run, else its pcore's.
pub fn exit(status: Status) -> ! {
    let value = match status {
        Status::Success => 0,
        Status::Failed => 1,
        Status::BadCommandLine => 2,
    };
    if FIRST.load(Ordering::Relaxed) == 0 {
        halt(value as u32);
    }
    let boot = Id(BOOT.load(Ordering::Relaxed));
    if let Err(error) = sys().machine_control(boot, control::EXIT, value) {
        crate::println!("cannot end the run: {error:?}");
    }
    halt(value as u32)
}

/// Halts this core's pcore.
pub fn halt(value: u32) -> ! {
    loop {
        if let Ok(own) = sys().pcore_current() {
            // It does not return; where the pcore is in no share of one's own, there is nothing to name it by.
            let _ = sys().pcore_halt(own, u64::from(value));
        }
        pause();
    }
}
