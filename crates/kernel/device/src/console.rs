//! The console: whole lines out, records numbered.

use core::fmt;
use corey_kernel_hal::Machine;
use corey_lib_sync::Quarantine;

/// Most bytes of a line.
pub const LINE_BYTES: usize = 4096;

/// Most bytes of an escape sequence.
const SEQUENCE: usize = 16;

/// The console's state.
#[derive(Debug, Default)]
pub struct Console {
    seq: u64,
}

impl Quarantine for Console {
    fn quarantine(&mut self) {
        // A number is whole, and half a line has been written already.
    }
}

impl Console {
    /// Writes one line to `machine`: line breaks inside become spaces, other control bytes `?`; a record
    /// gets its number. A line of text may hold the escape sequences that draw ([`drawing`]).
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
            write_clean(machine, rest, false);
        } else {
            write_clean(machine, text, true);
        }
        machine.console_write(b"\n");
    }
}

/// Writes `text`; where it `draws`, with the sequences that draw as they are.
fn write_clean(machine: &dyn Machine, text: &[u8], draws: bool) {
    let mut buffer = heapless::Vec::<u8, 128>::new();
    let mut rest = text;
    while let Some(first) = rest.first() {
        let length = if draws { drawing(rest).unwrap_or(1) } else { 1 };
        let (now, later) = rest.split_at(length.min(rest.len()));
        if buffer.len() + now.len() > buffer.capacity() {
            machine.console_write(&buffer);
            buffer.clear();
        }
        let clean = match first {
            b'\n' | b'\r' => b" ",
            b'\t' | 0x20..=0x7e | 0x80.. => now,
            0x1b if now.len() > 1 => now,
            _ => b"?",
        };
        // There is room: it was made above.
        let _ = buffer.extend_from_slice(clean);
        rest = later;
    }
    machine.console_write(&buffer);
}

/// The length of the escape sequence that `text` begins with, if it is one that draws (ECMA-48): move the cursor (`H`,
/// `A`), clear (`J`, `K`), make bold (`m`), say which rows scroll (`r`), cut long rows (`?7h`, `?7l`). None of
/// them makes a terminal answer, or leave this set.
fn drawing(text: &[u8]) -> Option<usize> {
    let body = text.strip_prefix(b"\x1b[")?;
    if body.starts_with(b"?7h") || body.starts_with(b"?7l") {
        return Some(5);
    }
    let end = body.iter().take(SEQUENCE).position(|byte| !matches!(byte, b'0'..=b'9' | b';'))?;
    matches!(body.get(end)?, b'A' | b'H' | b'J' | b'K' | b'm' | b'r').then_some(end + 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use corey_kernel_hal::{CoreId, Exit};
    use std::sync::Mutex;

    struct Screen(Mutex<Vec<u8>>);
    impl Machine for Screen {
        fn console_write(&self, bytes: &[u8]) {
            self.0.lock().expect("no panic under the lock").extend(bytes);
        }
        fn exit(&self, _: Exit) -> ! {
            panic!("no exit here")
        }
        fn open_line(&self, _: u8, _: CoreId) {}
        fn close_line(&self, _: u8) {}
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
        assert_eq!(lines(&[b"a\n{\"fake\":1}\x07\r"]), "a {\"fake\":1}? \n");
        let long = [b'x'; 1000];
        assert_eq!(lines(&[&long]).len(), 1001);
    }

    #[test]
    fn text_may_draw_and_nothing_else() {
        for good in [
            "\x1b[Hx",
            "a\x1b[2;17Hb\x1b[K",
            "\x1b[2J\x1b[4;999r\x1b[A",
            "\x1b[1mbold\x1b[0m",
            "\x1b[?7l\x1b[?7h",
        ] {
            assert_eq!(lines(&[good.as_bytes()]), format!("{good}\n"));
        }
        // Reports, titles, printers, other modes, resets; and sequences without an end.
        let bad: [&[u8]; 9] = [
            b"\x1b[6n",
            b"\x1b]0;title\x07",
            b"\x1b[5i",
            b"\x1b[?25l",
            b"\x1bc",
            b"\x1b[?7",
            b"\x1b[1;2;3;4;5;6;7;8;9H",
            b"\x1b[",
            b"\x1b",
        ];
        for bad in bad {
            assert!(!lines(&[bad]).contains('\x1b'), "{bad:?}");
        }
        assert_eq!(lines(&[b"{\"a\":\"\x1b[2J\"}"]), "{\"seq\":1,\"a\":\"?[2J\"}\n", "a record is no text");
        let split = [&[b'x'; 125], b"\x1b[12;34Hy".as_slice()].concat();
        assert!(lines(&[&split]).ends_with("x\x1b[12;34Hy\n"), "a sequence is written whole");
    }
}
