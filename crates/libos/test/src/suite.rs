//! Named checks.

use core::fmt::{self, Debug, Display, Write};
use corey_abi::{AuditReport, Error, Id, MachineCalls};
use corey_libos_rt::sys::{address_mut, sys};
use corey_libos_rt::{Process, Status, println};

/// The checks of one program.
#[derive(Debug)]
pub struct Suite {
    group: &'static str,
    boot: Id,
    ran: u32,
    failed: u32,
}

/// The first bytes of a text.
struct Text {
    bytes: [u8; 300],
    used: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self { bytes: [0; 300], used: 0 }
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (to, byte) in self.bytes.iter_mut().skip(self.used).zip(text.bytes()) {
            *to = byte;
        }
        self.used += text.len();
        Ok(())
    }
}

impl Suite {
    /// The suite of `group`.
    #[must_use]
    pub fn new(process: &Process, group: &'static str) -> Self {
        Self { group, boot: process.boot, ran: 0, failed: 0 }
    }

    /// Records a check.
    pub fn check(&mut self, name: &str, ok: bool, detail: impl Display) {
        self.ran += 1;
        self.failed += u32::from(!ok);
        println!(
            "{{\"record\":\"test\",\"group\":\"{}\",\"name\":\"{name}\",\"ok\":{ok},\"detail\":\"{detail}\"}}",
            self.group
        );
    }

    /// Records whether `got` is `wanted`.
    pub fn equal<T: PartialEq + Debug>(&mut self, name: &str, got: T, wanted: T) {
        let ok = got == wanted;
        if ok {
            self.check(name, true, "");
        } else {
            self.check(name, false, format_args!("got {got:?}, wanted {wanted:?}"));
        }
    }

    /// Records whether `what` says `wanted`.
    pub fn says(&mut self, name: &str, what: &impl Display, wanted: fmt::Arguments<'_>) {
        let (mut got, mut text) = (Text::default(), Text::default());
        // What exceeds the buffers is cut in both.
        let _ = (write!(got, "{what}"), write!(text, "{wanted}"));
        let ok = got.bytes == text.bytes && got.used == text.used;
        self.check(name, ok, format_args!("{what}"));
    }

    /// Records whether a call failed with `wanted`.
    pub fn refused<T: Debug>(&mut self, name: &str, got: Result<T, Error>, wanted: Error) {
        match got {
            Err(error) if error == wanted => self.check(name, true, ""),
            other => self.check(name, false, format_args!("got {other:?}, wanted {wanted:?}")),
        }
    }

    /// Records whether a call worked; gives its result.
    pub fn works<T>(&mut self, name: &str, got: Result<T, Error>) -> Option<T> {
        match got {
            Ok(value) => {
                self.check(name, true, "");
                Some(value)
            }
            Err(error) => {
                self.check(name, false, format_args!("{error:?}"));
                None
            }
        }
    }

    /// Records whether the kernel's books balance.
    pub fn audit(&mut self, name: &str) {
        let mut report = AuditReport::default();
        let result = sys().audit(self.boot, address_mut(&mut report));
        self.check(name, result.is_ok() && report.is_sound(), format_args!("{result:?} {report:?}"));
    }

    /// Audits, prints the sum, says how the run ends.
    #[must_use]
    pub fn finish(mut self) -> Status {
        self.audit("every frame and reference is accounted for at the end");
        println!(
            "{{\"record\":\"tests\",\"group\":\"{}\",\"ran\":{},\"of\":{},\"failed\":{}}}",
            self.group, self.ran, self.ran, self.failed
        );
        if self.failed == 0 { Status::Success } else { Status::Failed }
    }
}
