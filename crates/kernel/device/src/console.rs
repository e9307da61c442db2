//! The console: whole lines out, records numbered.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use corey_abi::Kind;
use corey_kernel_hal::{Machine, Platform};
use corey_kernel_object::{Ctx, Header, Object};
use corey_kernel_percore::CoreSet;
use corey_lib_sync::{Relax, Shared};

/// Most bytes of a line.
pub const LINE_BYTES: usize = 4096;

/// Moves a terminal's cursor to its first cell (ECMA-48).
const HOME: &[u8] = b"\x1b[H";
/// Clears a row from the cursor on.
const CLEAR: &[u8] = b"\x1b[K";

/// The console's state.
#[derive(Debug, Default)]
pub struct Console {
    seq: u64,
}

impl Console {
    /// Writes one line to `machine`: line breaks inside become spaces, other control bytes `?`; a record
    /// gets its number. A line of text may begin with `ESC [ H` (home) and end with `ESC [ K` (clear the rest of
    /// the row): what a program needs that draws a screen again and again.
    pub fn line(&mut self, machine: &dyn Machine, text: &[u8]) {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        if let Some(rest) = text.strip_prefix(b"{") {
            self.seq += 1;
            let mut number = heapless::String::<32>::new();
            // 32 bytes hold the key and 20 digits.
            let _ = fmt::Write::write_fmt(&mut number, format_args!("{{\"seq\":{},", self.seq));
            let head = if rest.iter().all(u8::is_ascii_whitespace) || rest.first() == Some(&b'}') {
                number.trim_end_matches(',')
            } else {
                &number
            };
            machine.console_write(head.as_bytes());
            write_clean(machine, rest);
        } else {
            let (home, text) = text.strip_prefix(HOME).map_or((false, text), |rest| (true, rest));
            let (clear, text) = text.strip_suffix(CLEAR).map_or((false, text), |rest| (true, rest));
            if home {
                machine.console_write(HOME);
            }
            write_clean(machine, text);
            if clear {
                machine.console_write(CLEAR);
            }
        }
        machine.console_write(b"\n");
    }
}

fn write_clean(machine: &dyn Machine, text: &[u8]) {
    let mut buffer = heapless::Vec::<u8, 128>::new();
    for chunk in text.chunks(128) {
        buffer.clear();
        buffer.extend(chunk.iter().map(|byte| match byte {
            b'\n' | b'\r' => b' ',
            b'\t' | 0x20..=0x7e | 0x80.. => *byte,
            _ => b'?',
        }));
        machine.console_write(&buffer);
    }
}

/// All devices of the machine.
pub struct Devices {
    machine: &'static dyn Machine,
    console: Shared<Console>,
    taken: AtomicBool,
}

impl fmt::Debug for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.console.fmt(f)
    }
}

impl Devices {
    /// The devices of `machine`.
    #[must_use]
    pub fn new(machine: &'static dyn Machine) -> Self {
        Self {
            machine,
            console: Shared::new(0, "console", Console::default()),
            taken: AtomicBool::new(false),
        }
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &'static dyn Machine {
        self.machine
    }

    /// Writes one line.
    pub fn line<R: Relax>(&self, waiter: &mut R, text: &[u8]) {
        self.console.lock(waiter).line(self.machine, text);
    }

    /// Takes the console; false when it is taken.
    pub(crate) fn take(&self) -> bool {
        !self.taken.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn release(&self) {
        self.taken.store(false, Ordering::Release);
    }
}

/// The console as an object.
#[derive(Debug)]
pub struct Device {
    devices: &'static Devices,
}

impl Device {
    /// The console, taken.
    pub(crate) fn new(devices: &'static Devices) -> Self {
        Self { devices }
    }
}

impl<P: Platform> Object<P> for Device {
    const KIND: Kind = Kind::Device;

    fn reclaim(&mut self, _: &mut Ctx<P>) {
        self.devices.release();
    }
}

/// Ends a device without references: it is free when no core can use it any more.
pub fn end<P: Platform>(ctx: &mut Ctx<P>, header: &Header) {
    let own = CoreSet::only(ctx.core());
    ctx.retire(header, own);
}

#[cfg(test)]
mod tests {
    use super::*;
    use corey_kernel_hal::Exit;
    use std::sync::Mutex;

    struct Screen(Mutex<Vec<u8>>);
    impl Machine for Screen {
        fn console_write(&self, bytes: &[u8]) {
            self.0.lock().expect("no panic under the lock").extend(bytes);
        }
        fn exit(&self, _: Exit) -> ! {
            panic!("no exit here")
        }
    }

    fn lines(text: &[&[u8]]) -> String {
        let screen = Screen(Mutex::default());
        let mut console = Console::default();
        text.iter().for_each(|t| console.line(&screen, t));
        String::from_utf8(screen.0.into_inner().expect("no panic")).expect("clean")
    }

    #[test]
    fn records_are_numbered_and_text_is_not() {
        assert_eq!(lines(&[b"{\"a\":1}\n", b"hello", b"{}"]), "{\"seq\":1,\"a\":1}\nhello\n{\"seq\":2}\n");
    }

    #[test]
    fn one_buffer_is_one_line() {
        assert_eq!(lines(&[b"\x1b[Hx\x1b[Hy\x1b[K"]), "\x1b[Hx?[Hy\x1b[K\n");
        assert_eq!(lines(&[b"a\n{\"fake\":1}\x1b[2J"]), "a {\"fake\":1}?[2J\n");
    }
}
