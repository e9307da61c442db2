//! `cores`: one screen that shows, twice a second, what runs on each core, which shares it holds and who else holds
//! them, and its faults, interrupts and calls per second.
//!
//! `init=cores bench=memclone cores=1,2`: the first program moves the screen to the last core and becomes the
//! benchmark; sharing appears and vanishes as its runs begin and end. Without `bench=` the screen stays alone.
//! `frames=N` ends it after N screens (0: never).
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; a picture is all numbers")]

use core::fmt::Write;
use core::sync::atomic::AtomicU64;
use corey_abi::{
    CORE_BY_NUMBER, CoreStat, Error, HeldShare, Id, MachineCalls, MapFlags, Name, ObjRef, PAGE_BYTES,
    UserPtr, core_mode,
};
use corey_libos_rt::sys::{segment, sys};
use corey_libos_rt::vm::Core;
use corey_libos_rt::{Process, Status, entry, exec, println, run_program, shared};

entry!(main);

/// Nanoseconds between two screens.
const PERIOD: u64 = 500_000_000;
/// Rows of the screen, the last one left free.
const ROWS: usize = 24;
const COLUMNS: usize = 80;
/// Pages of the share of the screen, when it runs beside another program.
const PAGES: u64 = 4096;

/// A line of the screen.
type Line = heapless::String<512>;

fn main(mut process: Process) -> Status {
    let (mut bench, mut frames) = (None, 0);
    for word in process.info.command_line().split_whitespace() {
        match word.split_once('=') {
            Some(("bench", names)) => bench = names.split([',', '/']).next(),
            Some(("frames", count)) => match count.parse() {
                Ok(count) => frames = count,
                Err(_) => {
                    println!("frames={count}: want a number of screens, 0 for no end");
                    return Status::BadCommandLine;
                }
            },
            _ => {}
        }
    }
    let result = match bench {
        Some(program) if process.info.header.first == 1 => beside(&mut process, program),
        _ => watch(&mut process, frames),
    };
    match result {
        Ok(()) => Status::Success,
        Err(error) => {
            println!("cores: a system call failed: {error:?}");
            Status::Failed
        }
    }
}

/// Starts the screen on the last core and becomes `program`.
fn beside(process: &mut Process, program: &str) -> Result<(), Error> {
    let cores = process.info.header.cores;
    if cores < 2 {
        println!("cores: one core has no room for a screen beside {program}; give the machine two");
        return Err(Error::NotFound);
    }
    let core = Core::take(process.boot, cores as u16 - 1, PAGES, 1 << 30)?;
    let page = segment(process.boot, PAGE_BYTES, "screen")?;
    let (va, _) = process.space.map(page, 1, MapFlags::WRITE)?;
    // SAFETY: just mapped, for good, and used as status words only.
    let words: &[AtomicU64; 2] = unsafe { shared(va) };
    if let Err(error) = run_program(process, &core, "cores", (words, page, 0)) {
        println!("cores: the screen does not start: {error}");
        return Err(Error::NotFound);
    }
    let error = exec(process, program);
    println!("{program}: {error}");
    Err(Error::NotFound)
}

/// A core as it was.
#[derive(Clone, Copy, Default)]
struct Before {
    tsc: u64,
    counts: [u64; 3],
}

fn stat(process: &Process, core: u64) -> Result<CoreStat, Error> {
    let mut place = core::mem::MaybeUninit::<CoreStat>::zeroed();
    let of = ObjRef { share: process.boot, object: Id(CORE_BY_NUMBER | core) };
    sys().core_stat(of, UserPtr(place.as_mut_ptr() as u64))?;
    // SAFETY: all numbers: any bytes are valid, and the kernel wrote them.
    Ok(unsafe { place.assume_init() })
}

/// Draws `frames` screens, or for ever.
fn watch(process: &mut Process, frames: u64) -> Result<(), Error> {
    let sleep = segment(process.program, PAGE_BYTES, "nobody wakes this")?;
    let cores = process.info.header.cores;
    let mut before = [Before::default(); 256];
    let mut frame = 0;
    while frames == 0 || frame < frames {
        draw(process, cores, &mut before, frame)?;
        frame += 1;
        // Nobody changes the word: the wait ends by its time.
        match sys().core_wait(sleep, 0, 0, PERIOD) {
            Ok(()) | Err(Error::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The rows of one screen.
struct Screen(usize);

impl Screen {
    fn row(&mut self, text: &str) {
        // Home before the first row; the rest of each row is cleared. The screen of the machine has no cursor:
        // there, the rows push the old ones out.
        let home = if self.0 == 0 { "\u{1b}[H" } else { "" };
        self.0 += 1;
        println!("{home}{text}\u{1b}[K");
    }

    /// Shows a line on as many rows as it needs, but leaves `others` rows for what follows.
    fn line(&mut self, line: &str, others: usize) {
        let mut rest = line;
        loop {
            let at = rest.char_indices().nth(COLUMNS).map_or(rest.len(), |(at, _)| at);
            let (now, more) = rest.split_at(at);
            self.row(now);
            if more.is_empty() || self.0 + others >= ROWS {
                return;
            }
            rest = more;
        }
    }
}

fn draw(process: &Process, cores: u64, before: &mut [Before; 256], frame: u64) -> Result<(), Error> {
    let mut screen = Screen(0);
    screen.row("core mode   faults/s   IPIs/s  calls/s  shares held (who else holds them)");
    let shown = cores.min(ROWS as u64 - 2);
    for core in 0..shown {
        let now = stat(process, core)?;
        let mut line = Line::new();
        let was = &mut before[core as usize % 256];
        let counts = [now.faults, now.ipis, now.syscalls];
        let ticks = now.tsc.wrapping_sub(was.tsc).max(1);
        let hz = process.info.header.tsc_hz;
        let [faults, ipis, calls] = [0, 1, 2].map(|n: usize| {
            let more = counts[n].wrapping_sub(was.counts[n]);
            (u128::from(more) * u128::from(hz) / u128::from(ticks)) as u64
        });
        *was = Before { tsc: now.tsc, counts };
        let mode = match now.mode {
            core_mode::IDLE => "idle",
            core_mode::USER => "user",
            core_mode::KERNEL_CORE => "kernel",
            core_mode::WAITING => "waits",
            _ => "?",
        };
        // What exceeds the line's room is cut.
        let _ = write!(line, "{core:>4} {mode:<6} {faults:>9} {ipis:>8} {calls:>8}  ");
        for share in now.shares.iter().take(now.nshares as usize) {
            name(&mut line, share, core, cores);
        }
        if frame == 0 {
            // The counts of the first screen are those since boot.
            let _ = write!(line, "(since boot)");
        }
        screen.line(line.trim_end(), (shown - core) as usize);
    }
    if shown < cores {
        let mut line = Line::new();
        let _ = write!(line, "     and {} more cores; a screen has {ROWS} rows", cores - shown);
        screen.row(&line);
    }
    while screen.0 < ROWS {
        screen.row("");
    }
    Ok(())
}

/// Adds a share: its name, and the other cores that hold it.
fn name(line: &mut Line, share: &HeldShare, core: u64, cores: u64) {
    let text = Name(share.name);
    let text = text.as_str();
    let clean = if text.bytes().all(|b| b.is_ascii_graphic()) { text } else { "?" };
    let _ = write!(line, "{clean}");
    let others = (0..cores).filter(|n| *n != core && share.holders[*n as usize / 64] >> (n % 64) & 1 == 1);
    let mut any = false;
    for other in others {
        let _ = write!(line, "{}{other}", if any { "," } else { "(" });
        any = true;
    }
    let _ = write!(line, "{} ", if any { ")" } else { "" });
}
