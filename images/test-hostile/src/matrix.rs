//! The matrix: each call of the table, each of its arguments' words, each bad value. A new row of the table gets its
//! cells by itself.

use crate::attack::is_named;
use crate::harmless::{HARMLESS, LEFT_OUT, REFUSED, has};
use crate::subject::CARD_ROWS;
use crate::values::{self, words};
use crate::world::{Ground, World};
use corey_abi::{
    AuditReport, Error, Id, MachineCalls, ObjRef, SYSCALLS, ShareCalls, SyscallInfo, Word, control,
};
use corey_libos_rt::sys::{address_mut, raw, sys};
use corey_libos_rt::{Process, println};
use corey_libos_test::Suite;

/// What the audit says.
pub(crate) fn report(process: &Process) -> Option<AuditReport> {
    let mut report = AuditReport::default();
    sys().audit(process.boot, address_mut(&mut report)).ok()?;
    Some(report)
}

/// Whether the books are looked at now: after each cell; where processors really run at once, and an audit waits for
/// the host's threads, after the last one of an argument.
pub(crate) fn is_looked_at(process: &Process, last: bool) -> bool {
    last || !process.info.has_word("multi")
}

/// Frames in use, those left out that stay with shares that live on: object slots, tables of names.
fn in_use(report: &AuditReport) -> u64 {
    report.owned - report.slots - report.tables + report.limbo
}

/// An argument and which part of it: `("object", ".share")`.
pub(crate) type Title = (&'static str, &'static str);

/// A call, what is good for it, and how it went.
pub(crate) struct Row<'a> {
    pub(crate) call: &'static SyscallInfo,
    /// The call's, and what it is about.
    pub(crate) name: &'static str,
    ground: &'a Ground,
    pub(crate) world: World,
    pub(crate) cells: u32,
    /// The first cell that went wrong, and how.
    pub(crate) wrong: Option<(Title, &'static str, &'static str)>,
}

impl<'a> Row<'a> {
    pub(crate) fn new(call: &'static SyscallInfo, ground: &'a Ground) -> Result<Self, Error> {
        let name = ground.subject.row(call.name);
        Ok(Self { call, name, ground, world: World::new(ground)?, cells: 0, wrong: None })
    }

    /// Argument words, all good.
    pub(crate) fn good(&self) -> [Word; 6] {
        let mut all = [0; 6];
        let mut at = 0;
        for arg in self.call.args {
            let Some((name, kind)) = arg.split_once(": ") else { continue };
            let good = self.world.good(self.call, name, kind);
            for (word, _) in good.iter().zip(words(kind)) {
                if let Some(slot) = all.get_mut(at) {
                    *slot = *word;
                }
                at += 1;
            }
        }
        all
    }

    /// Makes the call; whatever it did is undone. The records in the buffer are as the caller left them.
    pub(crate) fn call(&mut self, args: [Word; 6]) -> Result<[Word; 2], Error> {
        let result = raw(self.call.number, args);
        if result.is_err_and(|error| !is_named(self.call.number, error)) {
            self.wrong.get_or_insert((("", ""), "an error", "that the manual does not name"));
        }
        if result.is_ok() {
            if self.call.name == "pcore_run" && !self.world.settle() {
                self.wrong = Some((("context", ""), "a run", "never ended"));
            }
            if let Ok([made, _]) = result {
                self.undo(&args, Id(made));
            }
            if !self.ground.subject.leaves_all() {
                self.renew();
            }
        }
        result
    }

    /// Takes away what a call left outside its world: holds of new shares, names in the boot share.
    fn undo(&self, args: &[Word; 6], made: Id) {
        let gone = match self.call.name {
            "share_alloc" => {
                let _ = sys().self_drop(made);
                made
            }
            "share_addobj" => Id(args[2]),
            name if name.ends_with("_alloc") || name.ends_with("_copy") => made,
            _ => return,
        };
        // Mostly not there.
        let _ = sys().share_delobj(ObjRef { share: self.ground.boot(), object: gone });
    }

    /// A new world.
    fn renew(&mut self) {
        self.world.end();
        match World::new(self.ground) {
            Ok(world) => self.world = world,
            Err(_) => self.wrong = Some((("", ""), "world", "cannot be made again")),
        }
    }

    /// Whether the good arguments are still as good as they should be.
    pub(crate) fn is_good(&mut self) -> Option<Error> {
        self.world.fill();
        let args = self.good();
        let result = self.call(args);
        let wanted = REFUSED.iter().find(|(name, ..)| *name == self.name).map(|(_, error, _)| *error);
        match (result, wanted) {
            (Ok(_), None) | (Err(Error::Unsupported), None) => None,
            (Err(error), Some(wanted)) if error == wanted => None,
            // On a small machine no other core can be had.
            (Err(Error::Busy), None)
                if self.call.name == "pcore_alloc" && self.ground.free_core.is_none() =>
            {
                None
            }
            (Err(_), None) if self.call.name == "pcore_run" && self.ground.idle.is_none() => None,
            (Err(error), _) => Some(error),
            (Ok(_), Some(wanted)) => Some(wanted),
        }
    }

    /// Tries a cell that differs from what is good in memory, not in its arguments.
    pub(crate) fn record_cell(&mut self, of: Title, value: &'static str, args: [Word; 6]) {
        self.cells += 1;
        let good = self.world.is_filled();
        if self.call(args).is_ok() && !good && !has(HARMLESS, self.name, of, value) {
            println!("allowed: {} {}{} {value}", self.name, of.0, of.1);
            self.wrong.get_or_insert((of, value, "was allowed"));
        }
    }

    /// Tries one cell.
    pub(crate) fn cell(&mut self, arg: Title, value: &'static str, args: [Word; 6]) {
        if has(LEFT_OUT, self.name, arg, value) {
            return;
        }
        self.cells += 1;
        let good = args == self.good();
        let result = self.call(args);
        if result.is_ok() && !good && !has(HARMLESS, self.name, arg, value) {
            println!("allowed: {} {}{} {value}", self.name, arg.0, arg.1);
            self.wrong.get_or_insert((arg, value, "was allowed"));
        }
    }

    pub(crate) fn end(self) {
        self.world.end();
    }
}

/// Calls that would end this program where there is no second pcore to aim them at.
const NEEDS_ANOTHER: [&str; 3] = ["pcore_run", "pcore_halt", "pcore_set_interval"];

/// The values of one call.
fn row(suite: &mut Suite, process: &Process, ground: &Ground, call: &'static SyscallInfo) -> u32 {
    if ground.idle.is_none() && NEEDS_ANOTHER.contains(&call.name) {
        suite.check(call.name, true, "one core: it would end this program; tested with two and more");
        return 0;
    }
    let Some(before) = report(process) else { return 0 };
    let Some(mut row) = suite.works(ground.subject.row(call.name), Row::new(call, ground)) else { return 0 };
    let title = row.name;
    let refused = row.is_good();
    suite.check(title, refused.is_none(), format_args!("good arguments: {refused:?}"));
    let mut at = 0;
    for of in call.args {
        let Some((name, kind)) = of.split_once(": ") else { continue };
        for (part, word) in words(kind) {
            let arg = (name, *part);
            let (mut unsound, mut values) = (None, 0);
            for number in 0..values::of(*word, &row.world).len() {
                row.world.fill();
                let mut args = row.good();
                let Some((value, bad)) = values::of(*word, &row.world).get(number).copied() else { continue };
                if let Some(slot) = args.get_mut(at) {
                    *slot = bad;
                }
                values += 1;
                row.cell(arg, value, args);
                let last = number + 1 == values::of(*word, &row.world).len();
                if is_looked_at(process, last) && !report(process).is_some_and(|report| report.is_sound()) {
                    unsound.get_or_insert(value);
                }
            }
            let refused = row.is_good();
            let good = row.wrong.is_none() && unsound.is_none() && refused.is_none() && values >= 16;
            suite.check(
                title,
                good,
                format_args!(
                    "{name}{part}: {values} values; wrong {:?}, unsound after {unsound:?}, then {refused:?}",
                    row.wrong
                ),
            );
            row.wrong = None;
            at += 1;
        }
    }
    let cells = row.cells;
    row.end();
    let after = report(process);
    let same = after.is_some_and(|after| in_use(&after) == in_use(&before));
    suite.check(title, same, format_args!("as many frames in use as before: {before:?} {after:?}"));
    cells
}

/// Has the stack's pages made, before frames are counted.
#[inline(never)]
fn deepen() {
    core::hint::black_box([1_u8; 32 << 10]);
}

/// All calls.
pub(crate) fn run(suite: &mut Suite, process: &Process, ground: &Ground) {
    deepen();
    // Tables and caches of this program's own shares grow once.
    for name in ["machine_info", "pcore_run"] {
        let Some(call) = SYSCALLS.iter().find(|call| call.name == name) else { continue };
        if ground.idle.is_some() || !NEEDS_ANOTHER.contains(&name) {
            let _ = Row::new(call, ground).map(|mut row| {
                row.world.touch();
                row.is_good();
                row.end();
            });
        }
    }
    let mut cells: u32 = SYSCALLS.iter().map(|call| row(suite, process, ground, call)).sum();
    for (name, subject) in CARD_ROWS {
        let Some(call) = SYSCALLS.iter().find(|call| call.name == name) else { continue };
        cells += row(suite, process, &ground.about(subject), call);
    }
    suite.check(
        "every cell of the matrix",
        cells > 1500,
        format_args!("{cells} cells, {} calls", SYSCALLS.len()),
    );
    // What a cell may have changed.
    let _ = sys().machine_control(process.boot, control::LOG_LEVEL, 3);
}
