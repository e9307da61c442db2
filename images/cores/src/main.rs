//! `cores`: one screen that shows, four times a second, what each core does, which shares it holds and which cores
//! hold them, too, and its faults, interrupts and calls per second.
//!
//! `init=cores bench=memclone cores=1,2,4`: the first program moves the screen to the last core and becomes the
//! benchmark; sharing appears, bold, and vanishes as its runs begin and end. Without `bench=` the screen stays
//! alone. `frames=N` ends it after N screens (0: never); `rows=N` and `columns=N` say how large the terminal is.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; a picture is all numbers")]

extern crate alloc;

use alloc::vec::Vec;
use core::sync::atomic::AtomicU64;
use corey_abi::{
    CORE_BY_NUMBER, CoreStat, Error, Id, MACHINE_CORES, MachineCalls, MapFlags, ObjRef, PAGE_BYTES, UserPtr,
};
use corey_apps_view::{Frame, History, Size};
use corey_libos_rt::sys::{segment, sys};
use corey_libos_rt::vm::Core;
use corey_libos_rt::{Process, Status, entry, exec, println, run_program, shared};

entry!(main);

/// Nanoseconds between two screens.
const PERIOD: u64 = 250_000_000;
/// Pages of the share of the screen, when it runs beside another program.
const PAGES: u64 = 4096;

/// A screen: one line for the console.
type Text = heapless::String<4096>;

fn main(mut process: Process) -> Status {
    let (mut bench, mut frames, mut size) = (None, 0, Size::USUAL);
    for word in process.info.command_line().split_whitespace() {
        let Some((key, value)) = word.split_once('=') else { continue };
        let number = value.parse::<u64>();
        let taken = match (key, number) {
            ("bench", _) => {
                bench = value.split([',', '/']).next();
                true
            }
            ("frames", Ok(count)) => {
                frames = count;
                true
            }
            ("rows", Ok(rows @ 6..=200)) => {
                size.rows = rows as usize;
                true
            }
            ("columns", Ok(columns @ 20..=400)) => {
                size.columns = columns as usize;
                true
            }
            ("frames" | "rows" | "columns", _) => false,
            _ => true,
        };
        if !taken {
            println!("{word}: want frames=N (0 for no end), rows=6 to 200, columns=20 to 400");
            return Status::BadCommandLine;
        }
    }
    let result = match bench {
        Some(program) if process.info.header.first == 1 => beside(&mut process, program),
        _ => watch(&mut process, frames, size),
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

fn stat(process: &Process, core: u64) -> Result<CoreStat, Error> {
    let mut place = core::mem::MaybeUninit::<CoreStat>::zeroed();
    let of = ObjRef { share: process.boot, object: Id(CORE_BY_NUMBER | core) };
    sys().core_stat(of, UserPtr(place.as_mut_ptr() as u64))?;
    // SAFETY: all numbers: any bytes are valid, and the kernel wrote them.
    Ok(unsafe { place.assume_init() })
}

/// Draws `frames` screens, or for ever.
fn watch(process: &mut Process, frames: u64, size: Size) -> Result<(), Error> {
    let sleep = segment(process.program, PAGE_BYTES, "nobody wakes this")?;
    let cores = (process.info.header.cores as usize).min(MACHINE_CORES);
    let mut before = [const { History::NONE }; MACHINE_CORES];
    let mut text = Text::new();
    // What exceeds the console's line is cut; a frame does not.
    let _ = Frame::clear(&mut text, size, cores);
    println!("{text}");
    let mut frame = 0;
    while frames == 0 || frame < frames {
        text.clear();
        draw(process, &mut before[..cores], size, &mut text)?;
        println!("{text}");
        frame += 1;
        // Nobody changes the word: the wait ends by its time.
        match sys().core_wait(sleep, 0, 0, PERIOD) {
            Ok(()) | Err(Error::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn draw(process: &Process, before: &mut [History], size: Size, text: &mut Text) -> Result<(), Error> {
    let (cores, hz) = (before.len(), process.info.header.tsc_hz);
    // All pictures first: they are to be of one moment, as nearly as that goes.
    let all = (0..cores as u64).map(|core| stat(process, core)).collect::<Result<Vec<_>, _>>()?;
    // As above.
    let Ok(mut frame) = Frame::begin(text, size, cores) else { return Ok(()) };
    let mut room = true;
    for (number, (now, before)) in all.iter().zip(before).enumerate() {
        room = room && frame.core(now, before, hz, cores - number - 1).unwrap_or(false);
        before.remember(now);
    }
    let _ = frame.end();
    Ok(())
}
