//! Boots: machines of many kinds that must work, and bad input that must be refused clearly.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::build::Size;
use crate::qemu::{Boot, End, Execution, Machine, Outcome};
use crate::setup::{self, Need};
use crate::{Result, iso, paths};

use super::{Built, Case, Verdict, show};

/// How the kernel is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    /// GRUB on a BIOS.
    Bios,
    /// GRUB on UEFI.
    Uefi,
    /// The ISO written to a USB stick, by the BIOS.
    Stick,
    /// That stick, on UEFI.
    UefiStick,
    /// `-kernel`, by its PVH note.
    Direct,
}

/// What is passed as archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Archive {
    Good,
    Missing,
    /// Cut in the middle of a file.
    Cut,
    /// Bytes that are no archive.
    Garbage,
}

/// What must come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// Powered off after a record.
    Works,
    /// Exit status, and a text that must be said.
    Refused(i32, &'static str),
    /// Any status but success, and a text that must be said.
    Complains(&'static str),
}

/// One boot.
#[derive(Clone, Copy, Debug)]
struct Row {
    name: &'static str,
    path: Path,
    cpu: &'static str,
    cores: u32,
    memory: &'static str,
    acpi: bool,
    archive: Archive,
    words: &'static str,
    /// A command for QEMU's monitor, given when the first record has come.
    inject: Option<&'static str>,
    expected: Expected,
}

/// Two benchmarks of seconds: what is injected after the first hits the second.
const LONG: &str = "bench=null iters=3000000 cores=1";
/// Ten null calls on every processor.
const WORK: &str = "bench=null/current iters=10";
/// The same on one processor only.
const ONE: &str = "bench=null/current iters=10 cores=1";

const PLAIN: Row = Row {
    name: "",
    path: Path::Direct,
    cpu: "max,-erms,-fsrm",
    cores: 2,
    memory: "512M",
    acpi: true,
    archive: Archive::Good,
    words: WORK,
    inject: None,
    expected: Expected::Works,
};

const fn bad_words(name: &'static str, words: &'static str, says: &'static str) -> Row {
    Row { name, words, expected: Expected::Refused(2, says), ..PLAIN }
}

const ROWS: &[Row] = &[
    Row { name: "ISO by BIOS", path: Path::Bios, ..PLAIN },
    Row { name: "ISO by UEFI", path: Path::Uefi, ..PLAIN },
    Row { name: "USB stick by BIOS", path: Path::Stick, ..PLAIN },
    Row { name: "USB stick by UEFI", path: Path::UefiStick, ..PLAIN },
    Row { name: "-kernel (PVH)", ..PLAIN },
    Row { name: "AMD", cpu: "EPYC", ..PLAIN },
    Row { name: "Intel", cpu: "Haswell", ..PLAIN },
    Row { name: "Intel without SMAP and MONITOR", cpu: "Nehalem", ..PLAIN },
    Row { name: "1 core", cores: 1, ..PLAIN },
    Row { name: "4 cores", cores: 4, ..PLAIN },
    Row { name: "16 cores", cores: 16, ..PLAIN },
    Row { name: "16 cores, ISO by BIOS", cores: 16, path: Path::Bios, ..PLAIN },
    Row { name: "64 cores", cores: 64, memory: "1G", words: ONE, ..PLAIN },
    Row { name: "64 MiB", memory: "64M", cores: 1, ..PLAIN },
    Row { name: "128 MiB", memory: "128M", ..PLAIN },
    Row { name: "5 GiB", memory: "5G", ..PLAIN },
    Row { name: "64 GiB", memory: "64G", ..PLAIN },
    Row { name: "64 GiB, ISO by BIOS", memory: "64G", path: Path::Bios, ..PLAIN },
    Row { name: "no ACPI", acpi: false, words: ONE, ..PLAIN },
    Row {
        name: "missing archive",
        archive: Archive::Missing,
        expected: Expected::Complains("archive"),
        ..PLAIN
    },
    Row {
        name: "archive cut short",
        archive: Archive::Cut,
        expected: Expected::Complains("corrupt archive"),
        ..PLAIN
    },
    Row {
        name: "garbage as archive",
        archive: Archive::Garbage,
        expected: Expected::Complains("corrupt archive"),
        ..PLAIN
    },
    bad_words("unknown word", "nonsense=1", "nonsense"),
    bad_words("unknown benchmark", "bench=nul", "valid"),
    bad_words("unknown variant", "bench=null/none", "valid"),
    bad_words("impossible core count", "bench=null cores=99", "cores=99"),
    bad_words("impossible turn", "bench=null turn=2", "turn=2"),
    bad_words("unknown init", "init=nobody", "nobody"),
    // Bank 1 of processor 0: valid, uncorrected, enabled, context corrupt. A kernel can only stop.
    Row {
        name: "panic on a machine check",
        words: LONG,
        inject: Some("mce 0 1 0xb200000000000000 0x5 0x0 0x0"),
        expected: Expected::Refused(3, "kernel panic on core"),
        ..PLAIN
    },
];

/// Runs the table; with `full` every working row on every boot path.
pub(super) fn cases(built: &Built, full: bool) -> Result<Vec<Case>> {
    setup::ensure(&[Need::Uefi])?;
    let mut cases = Vec::new();
    for row in ROWS {
        let works = row.expected == Expected::Works;
        let mut paths = vec![row.path];
        if full && works {
            paths = vec![Path::Direct, Path::Bios, Path::Uefi, Path::Stick, Path::UefiStick];
        }
        for path in paths {
            let start = Instant::now();
            let row = Row { path, ..*row };
            let (outcome, silence) = boot(built, &row)?;
            let name = if full { format!("{} ({path:?})", row.name) } else { row.name.to_owned() };
            let case = (name, verdict(&row, &outcome, silence));
            show(&case, Some(start));
            cases.push(case);
        }
    }
    Ok(cases)
}

/// The longest silence between GRUB's last line and the kernel's first.
const SILENCE: Duration = Duration::from_secs(1);

/// Boots, and gives the monitor its command when the first record comes. Also says how long the
/// kernel was silent after GRUB.
fn boot(built: &Built, row: &Row) -> Result<(Outcome, Option<Duration>)> {
    let mut machine = machine(built, row)?;
    let socket = paths::work("test")?.join("monitor");
    let mut command = row.inject;
    if command.is_some() {
        machine.monitor = Some(socket.clone());
    }
    let (mut left_grub, mut silence) = (None, None);
    // QEMU forgets what it has not read when the connection closes: it stays open.
    let mut connection = None;
    let outcome = machine.run(Duration::from_secs(90), |line| {
        match left_grub {
            None if line.contains("Booting `Corey'") => left_grub = Some(Instant::now()),
            Some(then) if silence.is_none() && !line.trim().is_empty() => {
                silence = Some(Instant::elapsed(&then));
            }
            _ => {}
        }
        if line.contains("\"record\":\"bench\"")
            && let Some(command) = command.take()
            && let Ok(mut monitor) = UnixStream::connect(&socket)
        {
            // A command that is not taken shows as a machine that just works: a failure.
            let _ = writeln!(monitor, "{command}");
            connection = Some(monitor);
        }
    })?;
    drop(connection);
    Ok((outcome, silence))
}

fn machine(built: &Built, row: &Row) -> Result<Machine> {
    let kernel = built.medium.kernel.clone();
    let boot = match row.path {
        Path::Direct => Boot::Direct(kernel, archive(built, row.archive)?, row.words.to_owned()),
        path => {
            let iso = iso::write(&built.medium, Size::Full, row.words, "test.iso")?;
            match path {
                Path::Uefi => Boot::Uefi(iso),
                Path::Stick => Boot::Stick(iso),
                Path::UefiStick => Boot::UefiStick(iso),
                Path::Bios | Path::Direct => Boot::Iso(iso),
            }
        }
    };
    let mut machine = Machine::new(row.cores, row.memory, boot);
    row.cpu.clone_into(&mut machine.cpu);
    machine.acpi = row.acpi;
    if row.cores > 4 {
        machine.execution = Execution::Single;
    }
    Ok(machine)
}

fn archive(built: &Built, which: Archive) -> Result<Option<PathBuf>> {
    let bytes = match which {
        Archive::Good => return Ok(Some(built.medium.archive.clone())),
        Archive::Missing => return Ok(None),
        Archive::Cut => {
            let mut bytes = std::fs::read(&built.medium.archive)?;
            bytes.truncate(bytes.len() / 2);
            bytes
        }
        Archive::Garbage => b"this is not an archive\n".repeat(500),
    };
    let path = paths::work("test")?.join(format!("{which:?}.cpio"));
    std::fs::write(&path, bytes)?;
    Ok(Some(path))
}

fn verdict(row: &Row, outcome: &Outcome, silence: Option<Duration>) -> Verdict {
    let says = |text: &str| outcome.lines.iter().any(|line| line.to_lowercase().contains(text));
    let right = match row.expected {
        Expected::Works => outcome.end == End::PoweredOff && says("\"record\":\"bench\""),
        Expected::Refused(status, text) => outcome.end == End::Status(status) && says(text),
        Expected::Complains(text) => matches!(outcome.end, End::Status(_)) && says(text),
    };
    if right {
        let slow = silence.filter(|time| row.path == Path::Bios && *time > SILENCE);
        return slow.map_or(Verdict::Passed, |time| {
            Verdict::Failed(format!("silent for {time:?} after GRUB, more than {SILENCE:?}"))
        });
    }
    let times = format!("{:.1} s, first byte {:?}", outcome.elapsed.as_secs_f64(), outcome.first_byte);
    Verdict::Failed(format!("wanted {:?}, got {:?} ({times})\n{}", row.expected, outcome.end, outcome.tail()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_triple_fault_is_not_a_success() {
        // QEMU ends with 0 after a reset under -no-reboot: only a record proves a working machine.
        let outcome = Outcome {
            end: End::PoweredOff,
            lines: vec!["Corey".to_owned()],
            messages: String::new(),
            elapsed: Duration::ZERO,
            first_byte: None,
        };
        assert_ne!(verdict(&PLAIN, &outcome, None), Verdict::Passed);
    }

    #[test]
    fn rows_have_names_of_their_own() {
        let mut names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ROWS.len());
        assert!(!names.contains(&""));
    }
}
