//! Screens: what a person at the machine sees is what the serial port says.

use std::path::Path;
use std::time::{Duration, Instant};

use corey_drivers_console::{COLUMNS, Colour, Frame, ROWS, Screen};
use corey_kernel_hal::{Cells, Pixels};

use crate::build::Size;
use crate::monitor::Monitor;
use crate::process::interrupted;
use crate::qemu::{Boot, End, Machine};
use crate::{Result, iso, paths};

use super::{Built, Case, Verdict, show};

/// What a machine does whose screen is looked at: it says something, and then stays.
const STAYS: &str = "init=netserver ip=10.0.2.15/24";
/// What it says last.
const READY: &str = "\"ready\":true";
/// What the others do.
const WORDS: &str = "bench=null iters=10";
/// Longest time to what is waited for.
const LIMIT: Duration = Duration::from_secs(90);

/// Looks at the screens of machines on each boot path, and boots machines that lack one, or a serial port.
pub(super) fn cases(built: &Built) -> Result<Vec<Case>> {
    let medium = |words| iso::write(&built.medium, Size::Full, words, "screen.iso");
    let direct = |words: &str| {
        Boot::Direct(built.medium.kernel.clone(), Some(built.medium.archive.clone()), words.to_owned())
    };
    let machine = |boot: Boot| Machine::new(2, "512M", boot);
    let mut cases = Vec::new();
    let mut add = |name: &str, start: Instant, verdict: Verdict| {
        let case = (name.to_owned(), verdict);
        show(&case, Some(start));
        cases.push(case);
    };
    let iso = medium(STAYS)?;
    for (name, boot, file) in [
        ("the screen, ISO by BIOS", Boot::Iso(iso.clone()), "bios.ppm"),
        ("the screen, ISO by UEFI", Boot::Uefi(iso), "uefi.ppm"),
        ("the screen, -kernel (VGA text)", direct(STAYS), "text.ppm"),
    ] {
        let start = Instant::now();
        add(name, start, looked_at(machine(boot), file)?);
    }
    let iso = medium(WORDS)?;
    for (name, boot) in [
        ("no screen, ISO by BIOS", Boot::Iso(iso.clone())),
        ("no screen, ISO by UEFI", Boot::Uefi(iso)),
        ("no screen, -kernel", direct(WORDS)),
    ] {
        let start = Instant::now();
        let machine = Machine { screen: false, ..machine(boot) };
        let outcome = machine.run(LIMIT, |_| ())?;
        let works = outcome.end == End::PoweredOff
            && outcome.lines.iter().any(|line| line.contains("\"record\":\"bench\""));
        let failed = || Verdict::Failed(format!("ended with {:?}\n{}", outcome.end, outcome.tail()));
        add(name, start, if works { Verdict::Passed } else { failed() });
    }
    for (name, screen) in [("no serial port", true), ("neither serial port nor screen", false)] {
        let start = Instant::now();
        // A bad word's status comes from init: nothing before it stopped for the lack of a port.
        let machine = Machine { serial: false, screen, ..machine(direct("nonsense=1")) };
        let outcome = machine.run(LIMIT, |_| ())?;
        let works = outcome.end == End::Status(2) && outcome.lines.is_empty();
        let failed = || Verdict::Failed(format!("ended with {:?}\n{}", outcome.end, outcome.tail()));
        add(name, start, if works { Verdict::Passed } else { failed() });
    }
    Ok(cases)
}

/// Runs a machine until it has said everything, and compares its screen then with what it said.
fn looked_at(mut machine: Machine, file: &str) -> Result<Verdict> {
    let folder = paths::work("test")?;
    let socket = folder.join("monitor");
    machine.monitor = Some(socket.clone());
    machine.cards = vec!["e1000"];
    let start = Instant::now();
    let (child, incoming) = machine.start()?;
    let mut said = String::new();
    while !said.contains(READY) {
        let Ok(line) = incoming.recv_timeout(LIMIT.saturating_sub(start.elapsed())) else {
            return Ok(Verdict::Failed(format!("it does not say {READY}\n{said}")));
        };
        // GRUB leaves its cursor somewhere.
        let line = line.trim_start();
        if !said.is_empty() || line.starts_with("Corey ") {
            said.extend([line, "\n"]);
        }
    }
    let mut monitor = Monitor::connect(&socket)?;
    // The screen comes after the serial port.
    let verdict = loop {
        match compared(&mut monitor, &said, &folder.join(file))? {
            Some(_) if start.elapsed() < LIMIT && !interrupted() => {}
            wrong => break wrong.map_or(Verdict::Passed, Verdict::Failed),
        }
    };
    monitor.quit();
    drop(child);
    Ok(verdict)
}

/// What is wrong with the screen of a machine that said so much.
fn compared(monitor: &mut Monitor, said: &str, file: &Path) -> Result<Option<String>> {
    if said.contains("corey: screen: VGA text") {
        let bytes = 2 * COLUMNS * ROWS;
        monitor.ask(&format!("pmemsave 0xb8000 {bytes} \"{}\"", file.display()))?;
        let shown: Vec<u8> = std::fs::read(file)?.iter().step_by(2).copied().collect();
        let wanted = Text::of(said);
        return Ok(
            (shown != wanted).then(|| format!("shows\n{}\ninstead of\n{}", rows(&shown), rows(&wanted)))
        );
    }
    monitor.ask(&format!("screendump \"{}\"", file.display()))?;
    let (size, pixels) = portable_pixmap(&std::fs::read(file)?).ok_or("QEMU wrote no picture")?;
    let wanted = Picture::of(size, said)?;
    let differ = wanted.iter().zip(&pixels).filter(|(a, b)| a != b).count();
    let wrong = differ != 0 || wanted.len() != pixels.len();
    Ok(wrong.then(|| format!("{differ} of {} bytes differ in {}\n{said}", pixels.len(), file.display())))
}

fn rows(cells: &[u8]) -> String {
    let rows = cells.chunks(COLUMNS).map(|row| String::from_utf8_lossy(row).trim_end().to_owned());
    rows.filter(|row| !row.is_empty()).flat_map(|row| [row, "\n".to_owned()]).collect()
}

/// Size and pixels of a picture as QEMU writes it (`P6`, 255).
fn portable_pixmap(bytes: &[u8]) -> Option<((u32, u32), Vec<u8>)> {
    let mut rest = bytes;
    let mut word = || {
        let end = rest.iter().position(u8::is_ascii_whitespace)?;
        let (word, after) = rest.split_at(end);
        rest = &after[1..];
        std::str::from_utf8(word).ok()
    };
    if word()? != "P6" {
        return None;
    }
    let size = (word()?.parse().ok()?, word()?.parse().ok()?);
    (word()? == "255").then(|| (size, rest.to_vec()))
}

/// VGA text memory, its characters.
struct Text(std::cell::RefCell<Vec<u8>>);

impl Text {
    fn of(said: &str) -> Vec<u8> {
        let text = Self(vec![b' '; COLUMNS * ROWS].into());
        Screen::new().write(&text, said.as_bytes());
        text.0.into_inner()
    }
}

impl Cells for Text {
    fn write(&self, index: usize, value: u16) {
        self.0.borrow_mut()[index] = value as u8;
    }
}

/// A picture's memory.
struct Picture(std::cell::RefCell<Vec<u8>>);

impl Picture {
    fn of(size: (u32, u32), said: &str) -> Result<Vec<u8>> {
        let colours = [0, 8, 16].map(|position| Colour { position, bits: 8 });
        let frame = Frame::new(size, size.0 * 3, 24, colours)?;
        let picture = Self(vec![0; frame.bytes()].into());
        Screen::new().write(&frame.cells(&picture), said.as_bytes());
        Ok(picture.0.into_inner())
    }
}

impl Pixels for &Picture {
    fn write(&self, offset: usize, bytes: &[u8]) {
        self.0.borrow_mut()[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_read() {
        assert_eq!(portable_pixmap(b"P6\n2 1\n255\nabcdef"), Some(((2, 1), b"abcdef".to_vec())));
        assert_eq!(portable_pixmap(b"P5\n2 1\n255\nabcdef"), None);
        assert_eq!(portable_pixmap(b""), None);
    }

    #[test]
    fn another_text_is_another_picture() {
        let of = |text| Picture::of((800, 600), text).unwrap();
        assert_ne!(of("EXIT 0\n"), of("EXIT 1\n"));
        assert_eq!(Text::of("a\nb\n").len(), COLUMNS * ROWS);
        assert_eq!(rows(&Text::of("a\nb\n")), "a\nb\n");
    }
}
