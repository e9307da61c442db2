//! What the cores do.

use crate::block::{fill, is_whole};
use crate::{BLOCKS, BOARD, STORED, wrong};
use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};
use corey_libos_cache::{BLOCK, Memory};
use corey_libos_mount::Machine;
use corey_libos_mount::fs::{Error, Fs, Kind, Options};

pub(crate) type Files<'a> = Fs<'a, Machine, Memory>;

/// Kinds of work.
pub(crate) const KINDS: usize = 8;
/// What can go wrong beside a kind of work: that number.
pub(crate) const NO_MOUNT: u64 = 100;

/// Bytes of a part of the file `shared` that one core writes.
const PART: u64 = 64;

/// What each core wrote last of its part.
static WROTE: [AtomicU64; crate::MOST as usize] = [const { AtomicU64::new(0) }; crate::MOST as usize];

fn stored(number: u64) -> heapless::String<16> {
    let mut name = heapless::String::new();
    // It fits.
    let _ = write!(name, "s{number}");
    name
}

/// A number of core `core`'s turn `turn`.
fn random(core: u16, turn: u64) -> u64 {
    let mut mixed = (turn << 8 | u64::from(core)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^= mixed >> 29;
    mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20
}

/// Makes the files that stay.
pub(crate) fn prepare(fs: &mut Files<'_>) -> Result<(), Error> {
    for number in 0..STORED {
        fs.attach(stored(number), number + 1, BLOCKS * BLOCK as u64)?;
    }
    fs.fill("shared", &[0; BLOCK])?;
    fs.fill("grows", &[])?;
    fs.fill("cut", &[])?;
    fs.create_directory("names")
}

pub(crate) fn until_stopped(fs: &mut Files<'_>, core: u16) {
    let mut at = 0;
    while BOARD.stop.load(Ordering::Acquire) == 0 {
        turn(fs, core, at);
        at += 1;
    }
}

/// One turn of core `core`.
pub(crate) fn turn(fs: &mut Files<'_>, core: u16, at: u64) {
    let random = random(core, at);
    // Readers most of all.
    let kind = [0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7][random as usize % 12];
    let more = random >> 8;
    let result = match kind {
        0 => read(fs, more),
        1 => write(fs, core, at, more),
        2 => part(fs, core, at),
        3 => append(fs, more),
        4 => cut(fs, more),
        5 => names(fs, core, more),
        6 => evict(fs, more),
        _ => list(fs),
    };
    match result {
        Ok(true) => {
            BOARD.done[kind].fetch_add(1, Ordering::Relaxed);
        }
        Ok(false) => wrong(kind as u64 + 1, more),
        Err(error) => {
            corey_libos_rt::println!("core {core}, turn {at}, work {kind}: {error}");
            wrong(kind as u64 + 1, core.into());
        }
    }
}

/// Runs `work` with a file.
fn with(
    fs: &mut Files<'_>,
    name: &str,
    options: Options,
    work: impl FnOnce(&mut Files<'_>, corey_libos_mount::fs::Descriptor) -> Result<bool, Error>,
) -> Result<bool, Error> {
    let file = fs.open(name, options)?;
    let result = work(fs, file);
    fs.close(file)?;
    result
}

fn read(fs: &mut Files<'_>, random: u64) -> Result<bool, Error> {
    let (number, block) = (random % STORED, random / 8 % BLOCKS);
    with(fs, &stored(number), Options::READ, |fs, file| {
        let mut bytes = [0; BLOCK];
        let count = fs.pread(file, block * BLOCK as u64, &mut bytes)?;
        Ok(count == BLOCK && is_whole(&bytes, number, block))
    })
}

fn write(fs: &mut Files<'_>, core: u16, turn: u64, random: u64) -> Result<bool, Error> {
    let (number, block) = (random % STORED, random / 8 % BLOCKS);
    with(fs, &stored(number), Options::WRITE, |fs, file| {
        let mut bytes = [0; BLOCK];
        fill(&mut bytes, number, block, (turn + 1) << 8 | u64::from(core));
        Ok(fs.pwrite(file, block * BLOCK as u64, &bytes)? == BLOCK)
    })
}

/// Writes this core's part of the block that all write parts of, and finds its own.
fn part(fs: &mut Files<'_>, core: u16, turn: u64) -> Result<bool, Error> {
    with(fs, "shared", Options::READ | Options::WRITE, |fs, file| {
        let place = u64::from(core) * PART;
        let mut before = [0; PART as usize];
        fs.pread(file, place, &mut before)?;
        let last = WROTE[usize::from(core)].load(Ordering::Relaxed);
        let mine = before.chunks_exact(8).all(|eight| eight == last.to_le_bytes());
        let next = turn + 1;
        let mut bytes = [0; PART as usize];
        bytes.chunks_exact_mut(8).for_each(|eight| eight.copy_from_slice(&next.to_le_bytes()));
        let count = fs.pwrite(file, place, &bytes)?;
        WROTE[usize::from(core)].store(next, Ordering::Relaxed);
        Ok(mine && count == PART as usize)
    })
}

/// Whether each core's part is what it wrote last.
pub(crate) fn parts_kept(fs: &mut Files<'_>, cores: u16) -> bool {
    (0..cores).all(|core| {
        let mut bytes = [0; PART as usize];
        let read = with(fs, "shared", Options::READ, |fs, file| {
            Ok(fs.pread(file, u64::from(core) * PART, &mut bytes)? == PART as usize)
        });
        let last = WROTE[usize::from(core)].load(Ordering::Relaxed);
        read == Ok(true) && bytes.chunks_exact(8).all(|eight| eight == last.to_le_bytes())
    })
}

/// Appends eight bytes that say where they are, and now and then empties the file.
fn append(fs: &mut Files<'_>, random: u64) -> Result<bool, Error> {
    with(fs, "grows", Options::READ | Options::WRITE, |fs, file| {
        if random.is_multiple_of(64) {
            fs.truncate(file, 0)?;
            return Ok(true);
        }
        let (at, count) = fs.append(file, &[0x5a; 24])?;
        let mut bytes = [0; 24];
        // It may have been emptied since.
        let got = fs.pread(file, at, &mut bytes)?;
        Ok(count == 24
            && at.is_multiple_of(24)
            && bytes.iter().take(got).all(|byte| *byte == 0x5a || *byte == 0))
    })
}

/// Makes a file longer and shorter: what comes back is zeroes.
fn cut(fs: &mut Files<'_>, random: u64) -> Result<bool, Error> {
    with(fs, "cut", Options::READ | Options::WRITE, |fs, file| {
        fs.truncate(file, random % 20_000)?;
        let mut bytes = [0; 64];
        let at = random / 7 % 20_000;
        let got = fs.pread(file, at, &mut bytes)?;
        let good = bytes.iter().take(got).all(|byte| *byte == 0 || *byte == 0x77);
        if random.is_multiple_of(3) {
            fs.pwrite(file, at, &[0x77; 64])?;
        }
        Ok(good)
    })
}

/// Makes a file, gives it another name that others give theirs, reads it, takes a name away.
fn names(fs: &mut Files<'_>, core: u16, random: u64) -> Result<bool, Error> {
    let (mut mine, mut common) = (heapless::String::<32>::new(), heapless::String::<32>::new());
    // They fit.
    let _ = (write!(mine, "names/of {core}"), write!(common, "names/common {}", random % 3));
    fs.fill(&mine, &[core as u8; 300])?;
    if random.is_multiple_of(2) {
        fs.rename(&mine, &common)?;
        // Whoever's it is now, it is whole.
        let read = with(fs, &common, Options::READ, |fs, file| {
            let mut bytes = [0; 301];
            let count = fs.pread(file, 0, &mut bytes)?;
            Ok(count == 300 && bytes.iter().take(300).all(|byte| *byte == bytes[0]))
        });
        return match read {
            Err(Error::NotFound) => Ok(true),
            read => read,
        };
    }
    if random.is_multiple_of(3) {
        match fs.unlink(&common) {
            Ok(()) | Err(Error::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    fs.unlink(&mine)?;
    Ok(fs.stat(&mine) == Err(Error::NotFound))
}

fn evict(fs: &mut Files<'_>, random: u64) -> Result<bool, Error> {
    if random.is_multiple_of(4) {
        return with(fs, &stored(random % STORED), Options::READ, |fs, file| fs.sync(file).map(|()| true));
    }
    let (_, fault) = fs.client().evict((random % 8) as u32);
    Ok(fault.is_none())
}

fn list(fs: &mut Files<'_>) -> Result<bool, Error> {
    let mut good = true;
    fs.list("names", |name, kind| {
        good &= kind == Kind::File && (name.starts_with("of ") || name.starts_with("common "))
    })?;
    let mut found = 0;
    fs.list("", |_, _| found += 1)?;
    Ok(good && found == STORED + 4)
}

/// Removes everything.
pub(crate) fn remove_all(fs: &mut Files<'_>) -> Result<(), Error> {
    let mut names = heapless::Vec::<heapless::String<40>, 64>::new();
    fs.list("names", |name, _| {
        let mut path = heapless::String::new();
        // They fit.
        let _ = write!(path, "names/{name}");
        let _ = names.push(path);
    })?;
    names.iter().try_for_each(|name| fs.unlink(name))?;
    fs.remove_directory("names")?;
    (0..STORED).try_for_each(|number| fs.unlink(stored(number)))?;
    ["shared", "grows", "cut"].iter().try_for_each(|name| fs.unlink(name))
}
