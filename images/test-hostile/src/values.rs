//! Bad values, by the type of the word.

use crate::world::World;
use corey_abi::Id;

/// A value and its name in the table of harmless cells.
pub(crate) type Value = (&'static str, u64);

/// What a word of an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Names a share.
    Share,
    /// Names an object of a share.
    Object,
    /// An address.
    Pointer,
    /// The length of a buffer that is ready, behind that.
    Length,
    /// A number: count, offset, length, mode, core, set of kinds.
    Number,
}

/// The words of an argument of type `name`, as the call table spells it.
pub(crate) fn words(name: &str) -> &'static [(&'static str, Word)] {
    match name {
        "Id" => &[("", Word::Share)],
        "ObjRef" => &[(".share", Word::Share), (".object", Word::Object)],
        "UserPtr" => &[("", Word::Pointer)],
        // `u64`, `Home`, `Kinds`, and whatever comes: a number.
        _ => &[("", Word::Number)],
    }
}

const KERNEL: u64 = 0xffff_ffff_8010_0000;
const DIRECT: u64 = 0xffff_8000_0010_0000;
const BEYOND: u64 = 1 << 47;

const NUMBERS: [Value; 20] = [
    ("0", 0),
    ("1", 1),
    ("2", 2),
    ("3", 3),
    ("7", 7),
    ("8", 8),
    ("32", 32),
    ("4095", 4095),
    ("4096", 4096),
    ("65535", 65535),
    ("2^20 + 1", (1 << 20) + 1),
    ("2^32 - 1", u32::MAX as u64),
    ("2^32", 1 << 32),
    ("2^39 + 1", (1 << 39) + 1),
    ("2^47 - 1", BEYOND - 1),
    ("2^52", 1 << 52),
    ("2^63", 1 << 63),
    ("-4096", u64::MAX - 4095),
    ("-2", u64::MAX - 1),
    ("-1", u64::MAX),
];

/// The values for a word.
pub(crate) fn of(word: Word, world: &World) -> [Value; 20] {
    match word {
        Word::Number => NUMBERS,
        Word::Length => NUMBERS.map(|(name, value)| (name, value << 32 | 1)),
        Word::Pointer => pointers(world),
        Word::Share | Word::Object => ids(world),
    }
}

fn pointers(world: &World) -> [Value; 20] {
    let (start, end) = (world.buffer, world.buffer_end());
    [
        ("null", 0),
        ("1", 1),
        ("in page 0", 8),
        ("unmapped", end + 4096),
        ("unmapped now", world.gone_va),
        ("read-only", world.constant_va),
        ("text", world.text_va),
        ("one byte before an unmapped page", end - 1),
        ("eight bytes before an unmapped page", end - 8),
        ("the last page of the half", BEYOND - 4096),
        ("eight bytes before the end of the half", BEYOND - 8),
        ("beyond the half", BEYOND),
        ("non-canonical", 1 << 62),
        ("the kernel", KERNEL),
        ("the direct map", DIRECT),
        ("the first kernel address", DIRECT & !0xfff_ffff),
        ("-4096", u64::MAX - 4095),
        ("-8", u64::MAX - 7),
        ("-1", u64::MAX),
        ("misaligned", start + 4097),
    ]
}

fn ids(world: &World) -> [Value; 20] {
    let Id(own) = world.segment.object;
    [
        ("0", 0),
        ("1", 1),
        ("-1", u64::MAX),
        ("2^63", 1 << 63),
        ("2^56", 1 << 56 | own),
        ("the kernel", KERNEL),
        ("an address", world.buffer),
        ("freed segment", world.freed_segment.0),
        ("freed share", world.freed_share.0),
        ("share not held", world.hidden.share.0),
        ("object of a share not held", world.hidden.object.0),
        ("segment", own),
        ("interior tree", world.interior.object.0),
        ("root tree", world.root.object.0),
        ("device", world.device.object.0),
        ("other share", world.other.0),
        ("another core's", 7 << Id::COUNTER_BITS | 1),
        ("same number, another core", own ^ 1 << Id::COUNTER_BITS),
        ("not made yet", own + 1_000_000),
        ("one less", own - 1),
    ]
}
