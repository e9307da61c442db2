//! A QEMU machine: its command line, its serial output line by line, how it ended.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::monitor::Monitor;
use crate::process::{Owned, interrupted, tied};
use crate::{Result, process};

/// UEFI firmware of Debian's `ovmf`.
const FIRMWARE: &str = "/usr/share/ovmf/OVMF.fd";

/// What the machine boots from.
#[derive(Clone, Debug)]
pub(crate) enum Boot {
    /// A medium, by the BIOS.
    Iso(PathBuf),
    /// A medium, by UEFI firmware.
    Uefi(PathBuf),
    /// The same medium written to a USB stick, by the BIOS.
    Stick(PathBuf),
    /// That stick, by UEFI firmware.
    UefiStick(PathBuf),
    /// A kernel (with a PVH note, or Linux), an initial ramdisk, and a command line.
    Direct(PathBuf, Option<PathBuf>, String),
}

/// How instructions are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Execution {
    /// One host thread per processor, real time: for times.
    Multi,
    /// One host thread, no instruction clock: many processors on few.
    Single,
    /// One host thread and an instruction clock: for counts.
    Counted,
}

/// A memory node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    /// Its memory, all of them together [`Machine::memory`]; `None` for none.
    pub(crate) memory: Option<&'static str>,
    /// Its processors by number, as `0-3`; `None` for none.
    pub(crate) processors: Option<&'static str>,
}

/// A port of this machine's loopback that leads to one of the guest's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forward {
    /// `tcp` or `udp`.
    pub(crate) protocol: &'static str,
    /// Here.
    pub(crate) from: u16,
    /// There.
    pub(crate) to: u16,
    /// The number of the card it leads to.
    pub(crate) card: usize,
}

/// Frames between QEMU and this process: two UNIX sockets, each frame a datagram.
#[derive(Clone, Debug)]
pub(crate) struct Cable {
    /// QEMU's end; it makes that one.
    pub(crate) machine: PathBuf,
    /// Ours.
    pub(crate) here: PathBuf,
}

impl Cable {
    /// What `-netdev` is told.
    fn words(&self, id: &str) -> String {
        let (from, to) = (self.machine.display(), self.here.display());
        format!("dgram,id={id},local.type=unix,local.path={from},remote.type=unix,remote.path={to}")
    }
}

/// The machine's hardware.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// Virtual processors.
    pub(crate) cores: u32,
    /// How they make up packages, as `sockets=2,cores=2`; empty for one package.
    pub(crate) shape: String,
    /// Memory as QEMU writes it: `512M`, `64G`.
    pub(crate) memory: String,
    /// Its memory nodes; none for a machine that does not speak of nodes.
    pub(crate) nodes: Vec<Node>,
    /// Distances between nodes: from, to, how far. None for no table of them.
    pub(crate) distances: Vec<(usize, usize, u8)>,
    /// Processor model and flags.
    pub(crate) cpu: String,
    /// Whether firmware and kernel find ACPI tables.
    pub(crate) acpi: bool,
    /// Tables beside QEMU's own: a name, and the file of what follows the header.
    pub(crate) tables: Vec<(&'static str, PathBuf)>,
    /// Network cards, as QEMU calls them, each with a user network of its own that leads nowhere.
    pub(crate) cards: Vec<&'static str>,
    /// The cards are joined by a hub instead: what one sends, the others receive, and nobody else.
    pub(crate) hub: bool,
    /// Sockets of this machine that the first cards lead to instead, frame by frame, each behind its length.
    pub(crate) wires: Vec<PathBuf>,
    /// Ports of this machine's loopback that lead to the cards'.
    pub(crate) forwards: Vec<Forward>,
    /// What the first card is joined to instead.
    pub(crate) cable: Option<Cable>,
    /// A tap device of this machine that QEMU joins to another cable, beside the card.
    pub(crate) tap: Option<(&'static str, Cable)>,
    /// What it boots.
    pub(crate) boot: Boot,
    /// How it executes.
    pub(crate) execution: Execution,
    /// A TCG plugin and its words.
    pub(crate) plugin: Option<String>,
    /// Where the second serial port goes.
    pub(crate) second_serial: Option<PathBuf>,
    /// A socket that takes commands of QEMU's monitor.
    pub(crate) monitor: Option<PathBuf>,
    /// Whether it has a screen.
    pub(crate) screen: bool,
    /// Whether it has a serial port.
    pub(crate) serial: bool,
    /// Longest time between two lines: a machine that says nothing for so long hangs.
    pub(crate) patience: Option<Duration>,
}

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Powered off, or said `EXIT 0`.
    PoweredOff,
    /// Left through the debug-exit port, or by saying `EXIT n`, with this status.
    Status(i32),
    /// Still running after the time allowed.
    TimedOut,
    /// QEMU failed or was killed.
    Broken,
}

/// What a machine said and how it ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// How it ended.
    pub(crate) end: End,
    /// Lines of the first serial port.
    pub(crate) lines: Vec<String>,
    /// QEMU's own messages.
    pub(crate) messages: String,
    /// How long it took.
    pub(crate) elapsed: Duration,
    /// When the first byte came.
    pub(crate) first_byte: Option<Duration>,
}

impl Execution {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Multi => &["-accel", "tcg,thread=multi"],
            Self::Single => &["-accel", "tcg,thread=single"],
            Self::Counted => &["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"],
        }
    }
}

impl Machine {
    /// A machine with QEMU's richest processor.
    pub(crate) fn new(cores: u32, memory: &str, boot: Boot) -> Self {
        Self {
            cores,
            shape: String::new(),
            memory: memory.to_owned(),
            nodes: Vec::new(),
            distances: Vec::new(),
            cpu: "max,-erms,-fsrm".to_owned(),
            acpi: true,
            tables: Vec::new(),
            cards: Vec::new(),
            hub: false,
            wires: Vec::new(),
            forwards: Vec::new(),
            cable: None,
            tap: None,
            boot,
            execution: Execution::Multi,
            plugin: None,
            second_serial: None,
            monitor: None,
            screen: true,
            serial: true,
            patience: None,
        }
    }

    /// The command line, its first serial port on standard output.
    pub(crate) fn command(&self) -> Command {
        let mut qemu = tied("qemu-system-x86_64");
        let acpi = if self.acpi { "on" } else { "off" };
        // A memory object reserves nothing: a machine may have more memory than this one.
        let object = |id: &str, size: &str| format!("memory-backend-ram,id={id},size={size},reserve=off");
        qemu.args(["-m", &self.memory]);
        let mut machine = format!("q35,acpi={acpi}");
        if self.nodes.is_empty() {
            qemu.args(["-object", &object("ram", &self.memory)]);
            machine.push_str(",memory-backend=ram");
        }
        qemu.args(["-machine", &machine]);
        for (number, node) in self.nodes.iter().enumerate() {
            let mut words = format!("node,nodeid={number}");
            if let Some(size) = node.memory {
                qemu.args(["-object", &object(&format!("ram{number}"), size)]);
                words.push_str(&format!(",memdev=ram{number}"));
            }
            if let Some(processors) = node.processors {
                words.push_str(&format!(",cpus={processors}"));
            }
            qemu.args(["-numa", &words]);
        }
        for (from, to, distance) in &self.distances {
            qemu.args(["-numa", &format!("dist,src={from},dst={to},val={distance}")]);
        }
        let comma = if self.shape.is_empty() { "" } else { "," };
        for (name, file) in &self.tables {
            qemu.args(["-acpitable", &format!("sig={name},rev=3,data={}", file.display())]);
        }
        qemu.args(["-cpu", &self.cpu, "-smp", &format!("{}{comma}{}", self.cores, self.shape)]);
        let screen = if self.screen { "std" } else { "none" };
        qemu.args(["-nodefaults", "-display", "none", "-vga", screen, "-no-reboot"]);
        qemu.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
        for (number, card) in self.cards.iter().enumerate() {
            qemu.args(["-netdev", &self.network(number)]);
            qemu.args(["-device", &format!("{card},netdev=net{number}")]);
        }
        if let Some((tap, cable)) = &self.tap {
            let tap = format!("tap,id=tap,ifname={tap},script=no,downscript=no");
            for (name, network) in [("tap", tap), ("cable", cable.words("cable"))] {
                qemu.args(["-netdev", &network]);
                qemu.args(["-netdev", &format!("hubport,id={name}port,hubid=1,netdev={name}")]);
            }
        }
        qemu.args(self.execution.arguments());
        // q35 has a port all the same, unless it is told otherwise.
        qemu.args(["-serial", if self.serial { "stdio" } else { "none" }]);
        if let Some(path) = &self.second_serial {
            qemu.args(["-serial", &format!("file:{}", path.display())]);
        }
        if let Some(socket) = &self.monitor {
            qemu.args(["-monitor", &format!("unix:{},server=on,wait=off", socket.display())]);
        }
        if let Some(plugin) = &self.plugin {
            qemu.args(["-plugin", plugin]);
        }
        if matches!(self.boot, Boot::Uefi(_) | Boot::UefiStick(_)) {
            qemu.args(["-bios", FIRMWARE]);
        }
        match &self.boot {
            Boot::Iso(iso) | Boot::Uefi(iso) => qemu.arg("-cdrom").arg(iso),
            Boot::Stick(image) | Boot::UefiStick(image) => {
                let drive = format!("if=none,id=stick,format=raw,readonly=on,file={}", image.display());
                qemu.args(["-drive", &drive, "-device", "qemu-xhci"]);
                qemu.args(["-device", "usb-storage,drive=stick,bootindex=0"])
            }
            Boot::Direct(kernel, ramdisk, cmdline) => {
                qemu.arg("-kernel").arg(kernel);
                if let Some(ramdisk) = ramdisk {
                    qemu.arg("-initrd").arg(ramdisk);
                }
                qemu.args(["-append", cmdline])
            }
        };
        qemu
    }

    /// What `-netdev` is told for card `number`.
    fn network(&self, number: usize) -> String {
        let id = format!("net{number}");
        if self.hub {
            return format!("hubport,id={id},hubid=0");
        }
        if let Some(cable) = self.cable.as_ref().filter(|_| number == 0) {
            return cable.words(&id);
        }
        if let Some(path) = self.wires.get(number) {
            return format!("stream,id={id},server=off,addr.type=unix,addr.path={}", path.display());
        }
        // QEMU drops what a restricted guest sends by UDP, answers too.
        let mine = || self.forwards.iter().filter(|forward| forward.card == number);
        let open = mine().any(|forward| forward.protocol == "udp");
        let mut words = format!("user,id={id},restrict={}", if open { "off" } else { "on" });
        for Forward { protocol, from, to, .. } in mine() {
            words.push_str(&format!(",hostfwd={protocol}:127.0.0.1:{from}-:{to}"));
        }
        words
    }

    /// Starts the machine: it, and the lines of its first serial port.
    pub(crate) fn start(&self) -> Result<(Owned, Receiver<String>)> {
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let spawned = command.spawn();
        let mut child = Owned(spawned.map_err(|e| format!("cannot start QEMU: {e}"))?);
        let stdout = child.0.stdout.take().expect("it is piped");
        Ok((child, lines_of(stdout)))
    }

    /// Runs the machine to its end, at most `limit`; `watch` sees each line as it comes.
    pub(crate) fn run(&self, limit: Duration, mut watch: impl FnMut(&str)) -> Result<Outcome> {
        let start = Instant::now();
        let (mut child, incoming) = self.start()?;
        let mut stderr = child.0.stderr.take().expect("it is piped");
        let messages = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let mut lines = Vec::new();
        let mut first_byte = None;
        // A guest that cannot end the machine prints `EXIT n` and halts.
        let (mut said_exit, mut deadline) = (None, start + limit);
        let mut last_line = start;
        let timed_out = loop {
            match incoming.recv_timeout(Duration::from_millis(50)) {
                Ok(line) => {
                    first_byte.get_or_insert_with(|| start.elapsed());
                    if let Some(n) = line.strip_prefix("EXIT ").and_then(|n| n.trim().parse().ok()) {
                        said_exit = Some(n);
                        deadline = deadline.min(Instant::now() + Duration::from_secs(2));
                    }
                    watch(&line);
                    lines.push(line);
                    last_line = Instant::now();
                }
                Err(RecvTimeoutError::Disconnected) => break false,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if interrupted() {
                return Err("interrupted".into());
            }
            let silent = self.patience.is_some_and(|patience| last_line.elapsed() > patience);
            if silent {
                lines.push(format!(
                    "no line for {:.0} s: where the cores are",
                    last_line.elapsed().as_secs_f64()
                ));
                lines.extend(self.where_it_is());
            }
            if silent || Instant::now() > deadline {
                break true;
            }
        };
        if timed_out {
            child.0.kill()?;
        }
        let status = child.0.wait()?;
        lines.extend(incoming.try_iter());
        let end = match status.code() {
            _ if timed_out => match said_exit {
                Some(0) => End::PoweredOff,
                Some(n) => End::Status(n),
                None => End::TimedOut,
            },
            Some(0) => End::PoweredOff,
            // QEMU itself fails with 1; the debug-exit port gives 2n + 1 with n ≥ 1.
            Some(code) if code > 1 && code % 2 == 1 => End::Status(code / 2),
            _ => End::Broken,
        };
        let elapsed = start.elapsed();
        // TCG says once per processor and flag what a model has and it lacks.
        let messages = messages.join().unwrap_or_default();
        let telling = messages.lines().filter(|line| !line.contains("TCG doesn't support requested"));
        let messages = telling.flat_map(|line| [line, "\n"]).collect();
        Ok(Outcome { end, lines, messages, elapsed, first_byte })
    }

    /// What the monitor says about a machine that hangs: a line per core.
    fn where_it_is(&self) -> Vec<String> {
        let Some(socket) = &self.monitor else { return Vec::new() };
        let asked = Monitor::connect(socket).and_then(|mut monitor| monitor.ask("info registers -a"));
        let wanted = |line: &String| line.starts_with("CPU#") || line.starts_with("RIP=");
        asked.map_or_else(|e| vec![e.to_string()], |lines| lines.into_iter().filter(wanted).collect())
    }

    /// The command as one would type it.
    pub(crate) fn line(&self) -> String {
        process::line(&self.command())
    }
}

impl Outcome {
    /// The last lines and QEMU's messages, for an error text.
    pub(crate) fn tail(&self) -> String {
        let from = self.lines.len().saturating_sub(15);
        let last = self.lines[from..].iter().map(|line| format!("  | {line}\n"));
        format!("{}{}", last.collect::<String>(), self.messages)
    }
}

/// Reads a serial port, or what a program says: lines without their end, as UTF-8 as far as it is.
pub(crate) fn lines_of(port: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut port = BufReader::new(port);
        let mut line = Vec::new();
        while port.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line);
            let sent = sender.send(text.trim_end_matches(['\r', '\n']).to_owned());
            line.clear();
            if sent.is_err() {
                break;
            }
        }
    });
    receiver
}

/// QEMU's version line, for records.
pub(crate) fn version() -> String {
    let out = Command::new("qemu-system-x86_64").arg("--version").output();
    let text = out.map_or_else(|_| String::new(), |o| String::from_utf8_lossy(&o.stdout).into());
    let first = text.lines().next().unwrap_or("unknown");
    first.trim_start_matches("QEMU emulator version ").to_owned()
}
