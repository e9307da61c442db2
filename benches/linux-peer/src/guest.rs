//! What an init owes its machine: mounts, the serial ports, and an end.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::{ffi::CString, io};

/// Why the guest ends early, with the status the guest kernel would use.
#[derive(Debug)]
pub(crate) struct Failure {
    status: u32,
    text: String,
}

impl Failure {
    /// A benchmark or the guest failed: status 1.
    pub(crate) fn guest(what: &str, error: &io::Error) -> Self {
        Self { status: 1, text: format!("{what}: {error}") }
    }

    /// The command line means nothing: status 2.
    pub(crate) fn command_line(text: String) -> Self {
        Self { status: 2, text }
    }

    /// This program is wrong: status 3.
    pub(crate) fn panic(text: String) -> Self {
        Self { status: 3, text }
    }

    /// The last system call's error.
    pub(crate) fn last(what: &str) -> Self {
        Self::guest(what, &io::Error::last_os_error())
    }
}

fn mount(kind: &str, target: &str) -> Result<(), Failure> {
    // The folder may exist already; if it cannot be made, mount says so.
    let _ = std::fs::create_dir(target);
    let text = |s: &str| CString::new(s).expect("literals without zero bytes");
    let (kind_text, target_text) = (text(kind), text(target));
    // SAFETY: three zero-terminated strings that outlive the call and no data.
    let result = unsafe {
        libc::mount(kind_text.as_ptr(), target_text.as_ptr(), kind_text.as_ptr(), 0, std::ptr::null())
    };
    // The kernel may have mounted devtmpfs itself.
    let busy = io::Error::last_os_error().raw_os_error() == Some(libc::EBUSY);
    if result == 0 || busy { Ok(()) } else { Err(Failure::last(&format!("mount {target}"))) }
}

/// Mounts `/dev`, `/proc` and `/sys`, and memory for files at `/data`: names of files begin there.
pub(crate) fn mount_all() -> Result<(), Failure> {
    mount("devtmpfs", "/dev")?;
    mount("proc", "/proc")?;
    mount("sysfs", "/sys")?;
    mount("tmpfs", "/data")
}

fn open_for_writing(path: &str) -> Result<File, Failure> {
    OpenOptions::new().write(true).open(path).map_err(|error| Failure::guest(path, &error))
}

/// The one writer of records, on the first serial port.
#[derive(Debug)]
pub(crate) struct Records {
    port: File,
    seq: u64,
}

impl Records {
    pub(crate) fn open() -> Result<Self, Failure> {
        Ok(Self { port: open_for_writing("/dev/ttyS0")?, seq: 0 })
    }

    /// Writes a JSON object as one line with the next sequence number as its first key.
    pub(crate) fn write(&mut self, record: &impl std::fmt::Display) -> Result<(), Failure> {
        let text = record.to_string();
        let fields = text.strip_prefix('{').expect("a record is an object");
        let line = format!("{{\"seq\":{},{fields}\n", self.seq);
        self.seq += 1;
        self.port.write_all(line.as_bytes()).map_err(|error| Failure::guest("ttyS0", &error))
    }
}

/// Writes the kernel's functions to the second serial port between two marker lines.
pub(crate) fn dump_kallsyms() -> Result<(), Failure> {
    let symbols = crate::figures::read("/proc/kallsyms")?;
    let mut port = BufWriter::with_capacity(1 << 16, open_for_writing("/dev/ttyS1")?);
    let mut dump = || -> io::Result<()> {
        writeln!(port, "KALLSYMS-BEGIN")?;
        for line in symbols.lines().filter(|line| is_function(line)) {
            writeln!(port, "{line}")?;
        }
        writeln!(port, "KALLSYMS-END")?;
        port.flush()
    };
    dump().map_err(|error| Failure::guest("ttyS1", &error))?;
    drain(port.get_ref())
}

/// Says whether a line of kallsyms names code.
fn is_function(line: &str) -> bool {
    line.split_whitespace().nth(1).is_some_and(|kind| matches!(kind, "t" | "T" | "w" | "W"))
}

/// Waits until the port has sent everything.
fn drain(port: &File) -> Result<(), Failure> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open as long as `port` is borrowed.
    match unsafe { libc::tcdrain(port.as_raw_fd()) } {
        0 => Ok(()),
        _ => Err(Failure::last("tcdrain")),
    }
}

fn stop(how: libc::c_int) -> ! {
    // SAFETY: sync takes nothing and only writes buffers out.
    unsafe { libc::sync() };
    // SAFETY: ending the machine is what process 1 is asked for here.
    unsafe { libc::reboot(how) };
    loop {
        std::thread::park();
    }
}

/// Powers the machine off.
pub(crate) fn power_off() -> ! {
    if let Ok(port) = open_for_writing("/dev/ttyS0") {
        let _ = drain(&port);
    }
    stop(libc::RB_POWER_OFF)
}

/// Says why and leaves through the debug-exit port; halts where there is none.
pub(crate) fn fail(failure: &Failure) -> ! {
    let text = format!("linux-peer: {}\nEXIT {}\n", failure.text, failure.status);
    match open_for_writing("/dev/ttyS0") {
        Ok(mut port) => {
            let _ = port.write_all(text.as_bytes());
            let _ = drain(&port);
        }
        Err(_) => eprint!("{text}"),
    }
    // SAFETY: raises only this process's I/O privilege; refused unless it is the superuser.
    if unsafe { libc::iopl(3) } == 0 {
        // SAFETY: with I/O privilege 3 the write reaches QEMU's debug-exit device or nothing.
        unsafe {
            std::arch::asm!("out dx, eax", in("dx") 0xf4_u16, in("eax") failure.status,
                options(nomem, nostack, preserves_flags));
        }
    }
    stop(libc::RB_HALT_SYSTEM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_symbols_are_dumped() {
        assert!(is_function("ffffffff81000000 T _stext"));
        assert!(is_function("ffffffffc0000000 t helper\t[module]"));
        assert!(!is_function("ffffffff82000000 D jiffies"));
        assert!(!is_function(""));
    }
}
