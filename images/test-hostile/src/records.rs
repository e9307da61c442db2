//! Records that calls read from memory: each word of each, with each bad value.

use crate::matrix::{Row, is_looked_at, report};
use crate::subject::CARD_ROWS;
use crate::values::{self, Word};
use crate::world::Ground;
use corey_abi::SYSCALLS;
use corey_libos_rt::Process;
use corey_libos_test::Suite;

/// A record: the call that reads it, its name, and its words.
type Record = (&'static str, &'static str, &'static [(&'static str, Word)]);

const MAPPING: [(&str, Word); 8] = [
    (".kind and flags", Word::Number),
    (".share", Word::Share),
    (".object", Word::Object),
    (".va", Word::Number),
    (".start_page", Word::Number),
    (".npages", Word::Number),
    (".reserved", Word::Number),
    (".reserved", Word::Number),
];
const TABLE: [(&str, Word); 5] = [
    (".mappings", Word::Pointer),
    (".count", Word::Number),
    (".handler", Word::Pointer),
    (".stack", Word::Pointer),
    (".masked", Word::Pointer),
];
const CONTEXT: [(&str, Word); 17] = [
    (".share", Word::Share),
    (".object", Word::Object),
    (".mode", Word::Number),
    (".nshares", Word::Number),
    (".entry", Word::Pointer),
    (".stack", Word::Pointer),
    (".args", Word::Number),
    (".args", Word::Number),
    (".args", Word::Number),
    (".args", Word::Number),
    (".args", Word::Number),
    (".args", Word::Number),
    (".status share", Word::Share),
    (".status object", Word::Object),
    (".status_offset", Word::Number),
    (".shares", Word::Share),
    (".shares", Word::Share),
];
const LINE: [(&str, Word); 2] = [(".ready and length", Word::Number), (".done and error", Word::Number)];

const LENGTH: [(&str, Word); 1] = [(".length", Word::Length)];

const RECORDS: &[Record] = &[
    ("at_set_slot", "mapping", &MAPPING),
    ("at_set", "table", &TABLE),
    ("at_set", "mappings", &MAPPING),
    ("at_get", "table", &TABLE),
    ("pcore_run", "context", &CONTEXT),
    ("device_buf", "segment", &LINE),
];

/// What calls about the card read.
const CARD_RECORDS: [Record; 2] = [("device_buf", "segment", &LINE), ("device_buf", "segment", &LENGTH)];

/// One record of one call.
fn record(suite: &mut Suite, process: &Process, ground: &Ground, (name, arg, words): Record) {
    let Some(call) = SYSCALLS.iter().find(|call| call.name == name) else {
        return suite.check(name, false, "there is no such call");
    };
    if ground.idle.is_none() && name == "pcore_run" {
        return suite.check(name, true, "one core: it would end this program; tested with two and more");
    }
    let title = ground.subject.row(call.name);
    let Some(mut row) = suite.works(title, Row::new(call, ground)) else { return };
    let mut unsound = None;
    for (index, (part, word)) in words.iter().enumerate() {
        for number in 0..values::of(*word, &row.world).len() {
            row.world.fill();
            let Some((value, bad)) = values::of(*word, &row.world).get(number).copied() else { continue };
            row.world.poke(name, arg, index as u64, bad);
            let args = row.good();
            row.record_cell((arg, part), value, args);
            let last = number + 1 == values::of(*word, &row.world).len();
            if is_looked_at(process, last) && !report(process).is_some_and(|report| report.is_sound()) {
                unsound.get_or_insert((*part, value));
            }
        }
    }
    let refused = row.is_good();
    let good = row.wrong.is_none() && unsound.is_none() && refused.is_none();
    suite.check(
        title,
        good,
        format_args!(
            "{arg}: {} cells; wrong {:?}, unsound after {unsound:?}, then {refused:?}",
            row.cells, row.wrong
        ),
    );
    row.end();
}

/// All records.
pub(crate) fn run(suite: &mut Suite, process: &Process, ground: &Ground) {
    for of in RECORDS {
        record(suite, process, ground, *of);
    }
    for (call, subject) in CARD_ROWS {
        for of in CARD_RECORDS.iter().filter(|(name, ..)| *name == call) {
            record(suite, process, &ground.about(subject), *of);
        }
    }
}
