//! One frame: a row of headings, and one or more for each core.

use crate::history::{History, Rates};
use crate::holders::Holders;
use core::fmt::{self, Write};
use corey_abi::{CoreStat, HeldShare, Name, core_mode};

/// What is shown of one core before its shares.
const COLUMNS_BEFORE: usize = 38;
/// Rows below the frame at least, for what others print.
const ROWS_BELOW: usize = 4;

/// Rows and columns of the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

impl Size {
    /// A terminal as they come, and the screen of a PC.
    pub const USUAL: Self = Self { rows: 25, columns: 80 };

    /// Rows that a frame of `cores` cores takes: two for each where there is room. A frame is one line of the console,
    /// 4096 bytes.
    #[must_use]
    pub fn height(self, cores: usize) -> usize {
        // Escape sequences: for the row, and around two new shares.
        let bytes = 4096 - 200;
        let most = self.rows.saturating_sub(ROWS_BELOW).min(bytes / (self.columns + 28)).max(2);
        (1 + 2 * cores).min(self.rows * 2 / 3).max(1 + cores).min(most)
    }
}

/// Writes a frame's rows. Rows are addressed, not counted off, so that a terminal of another size shows what it can.
#[derive(Debug)]
pub struct Frame<'a, W> {
    out: &'a mut W,
    size: Size,
    height: usize,
    row: usize,
}

impl<'a, W: Write> Frame<'a, W> {
    /// Clears the terminal, and lets only what lies below the frame scroll.
    ///
    /// # Errors
    ///
    /// As `out`.
    pub fn clear(out: &mut W, size: Size, cores: usize) -> fmt::Result {
        let below = size.height(cores) + 2;
        write!(out, "\u{1b}[2J\u{1b}[{below};999r\u{1b}[999;1H\u{1b}[A")
    }

    /// Begins a frame of `cores` cores: the headings.
    ///
    /// # Errors
    ///
    /// As `out`.
    pub fn begin(out: &'a mut W, size: Size, cores: usize) -> Result<Self, fmt::Error> {
        // A row that is longer than the terminal's is cut, instead of going on in the next.
        out.write_str("\u{1b}[?7l")?;
        let mut frame = Self { out, size, height: size.height(cores), row: 0 };
        frame.next(&mut 0)?;
        let [core, mode, faults, ipis, calls] = ["core", "mode", "faults/s", "IPIs/s", "calls/s"];
        write!(
            frame.out,
            "{core} {mode:<5} {faults:>9} {ipis:>6} {calls:>7}   shares held (by these cores)"
        )?;
        Ok(frame)
    }

    /// Goes to the beginning of the next row; the rest of this one, of which `used` columns are written, is cleared.
    fn next(&mut self, used: &mut usize) -> fmt::Result {
        if self.row > 0 {
            self.out.write_str("\u{1b}[K")?;
        }
        self.row += 1;
        *used = 0;
        write!(self.out, "\u{1b}[{};1H", self.row)
    }

    /// Adds core `number`, or says how many there are from here on when no more row is left. `others` cores follow.
    /// Returns whether it was added.
    ///
    /// # Errors
    ///
    /// As `out`.
    pub fn core(
        &mut self,
        now: &CoreStat,
        before: &History,
        hz: u64,
        others: usize,
    ) -> Result<bool, fmt::Error> {
        let mut used = 0;
        let left = self.height.saturating_sub(self.row);
        if left == 0 || left == 1 && others > 0 {
            if left == 1 {
                self.next(&mut used)?;
                write!(self.out, "     and {} more cores: rows=N says how many rows there are", others + 1)?;
            }
            return Ok(false);
        }
        self.next(&mut used)?;
        let mode = match now.mode {
            core_mode::IDLE => "idle",
            core_mode::USER => "user",
            core_mode::KERNEL_CORE => "polls",
            core_mode::WAITING => "waits",
            _ => "?",
        };
        let rates = before.rates(now, hz);
        match rates {
            Some(Rates { faults, ipis, calls, .. }) => {
                write!(self.out, "{:>4} {mode:<5} {faults:>9} {ipis:>6} {calls:>7}   ", now.core)?;
            }
            None => write!(self.out, "{:>4} {mode:<5} {:>9} {:>6} {:>7}   ", now.core, "-", "-", "-")?,
        }
        used = COLUMNS_BEFORE;
        if let Some(Rates { turns, useful, .. }) = rates.filter(|_| now.mode == core_mode::KERNEL_CORE) {
            self.turns(turns, useful, &mut used)?;
        }
        let held = now.shares.iter().take(now.nshares as usize);
        // What is shared comes first.
        let shared = held.clone().filter(|share| Holders(&share.holders).count() > 1);
        let own = held.filter(|share| Holders(&share.holders).count() <= 1);
        for share in shared.chain(own) {
            // Each core that follows has a row.
            let more = self.row + others < self.height;
            self.share(share, before.is_new(share.id), more, &mut used)?;
        }
        Ok(true)
    }

    /// Says how many turns a kernel core makes a second, and how many find something to do, where there is room.
    fn turns(&mut self, turns: u64, useful: u64, used: &mut usize) -> fmt::Result {
        let mut text = heapless::String::<64>::new();
        // Two numbers of 20 digits fit.
        let _ = write!(text, "{turns} turns/s, {useful} useful ");
        if *used + text.len() <= self.size.columns {
            self.out.write_str(&text)?;
            *used += text.len();
        }
        Ok(())
    }

    /// Adds a share, on the next row when this one is full and `more` says that there is one.
    fn share(&mut self, share: &HeldShare, new: bool, more: bool, used: &mut usize) -> fmt::Result {
        let mut text = heapless::String::<96>::new();
        let name = Name(share.name);
        let clean = name.as_str().bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        let holders = Holders(&share.holders);
        // A set that does not fit is cut.
        let _ = write!(text, "{}", if clean { name.as_str() } else { "?" });
        if holders.count() > 1 {
            let _ = write!(text, "({holders})");
        }
        let length = text.chars().count();
        if *used + length > self.size.columns && *used > COLUMNS_BEFORE && more {
            self.next(used)?;
            write!(self.out, "{:COLUMNS_BEFORE$}", "")?;
            *used = COLUMNS_BEFORE;
        }
        let room = self.size.columns.saturating_sub(*used);
        let (on, off) = if new { ("\u{1b}[1m", "\u{1b}[0m") } else { ("", "") };
        let (text, end) = match text.char_indices().nth(room) {
            // Only the beginning; of what is one column wide, nothing.
            Some(_) => {
                let at = text.char_indices().nth(room.saturating_sub(1)).map_or(0, |(at, _)| at);
                (text.get(..at).unwrap_or(""), if room > 0 { "+" } else { "" })
            }
            None => (text.as_str(), ""),
        };
        write!(self.out, "{on}{text}{off}{end}")?;
        *used += length.min(room);
        if *used < self.size.columns {
            self.out.write_str(" ")?;
            *used += 1;
        }
        Ok(())
    }

    /// Clears the frame's other rows, and puts the cursor above the last row of the terminal.
    ///
    /// # Errors
    ///
    /// As `out`.
    pub fn end(mut self) -> fmt::Result {
        while self.row <= self.height {
            self.next(&mut 0)?;
        }
        let rule = self.size.columns.min(80);
        write!(self.out, "{:-<rule$}\u{1b}[K\u{1b}[?7h\u{1b}[999;1H\u{1b}[A", "")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use corey_abi::{Id, MACHINE_CORES, RUN_SHARES};

    /// A core that holds `shares`: name, ID, holders.
    pub(crate) fn stat(core: u64, shares: &[(&str, u64, u64)]) -> CoreStat {
        let mut held = [HeldShare::default(); RUN_SHARES];
        for (to, (name, id, holders)) in held.iter_mut().zip(shares) {
            to.id = Id(*id);
            to.name = Name::new(name).0;
            to.holders[0] = *holders;
        }
        CoreStat {
            core,
            mode: core_mode::USER,
            faults: 0,
            ipis: 0,
            shootdowns: 0,
            syscalls: 0,
            tsc: 0,
            tree: Id::NULL,
            turns: 0,
            useful: 0,
            ring_calls: 0,
            interrupts: 0,
            nshares: shares.len() as u64,
            shares: held,
        }
    }

    /// A terminal that understands what frames say.
    struct Terminal {
        rows: Vec<Vec<char>>,
        columns: usize,
        at: (usize, usize),
        wraps: bool,
    }

    impl Terminal {
        fn new(rows: usize, columns: usize) -> Self {
            Self { rows: vec![vec!['~'; columns]; rows], columns, at: (0, 0), wraps: true }
        }

        fn show(&mut self, text: &str) {
            let mut rest = text;
            while let Some(next) = rest.chars().next() {
                if let Some(sequence) = rest.strip_prefix("\u{1b}[") {
                    let end = sequence.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                    let numbers: Vec<usize> =
                        sequence[..end].split(';').map(|n| n.parse().unwrap_or(1)).collect();
                    match (&sequence[..end], &sequence[end..=end]) {
                        (_, "H") => {
                            let column = numbers.get(1).copied().unwrap_or(1);
                            self.at = (numbers[0].min(self.rows.len()) - 1, column - 1);
                        }
                        (_, "A") => self.at.0 -= 1,
                        (_, "K") => self.rows[self.at.0][self.at.1.min(self.columns)..].fill(' '),
                        ("2", "J") => self.rows.iter_mut().for_each(|row| row.fill(' ')),
                        ("?7", mode) => self.wraps = mode == "h",
                        (_, "m" | "r") => {}
                        other => panic!("{other:?}"),
                    }
                    rest = &sequence[end + 1..];
                    continue;
                }
                assert!(!next.is_control(), "{next:?}");
                assert!(!self.wraps, "a row may go on in the next: {rest}");
                let column = self.at.1.min(self.columns - 1);
                self.rows[self.at.0][column] = next;
                self.at.1 += 1;
                rest = &rest[next.len_utf8()..];
            }
        }

        fn row(&self, row: usize) -> String {
            self.rows[row].iter().collect::<String>().trim_end().to_owned()
        }
    }

    fn draw(size: Size, cores: &[CoreStat]) -> (String, Terminal) {
        let mut text = String::new();
        let mut terminal = Terminal::new(size.rows, size.columns);
        Frame::clear(&mut text, size, cores.len()).unwrap();
        terminal.show(&text);
        text.clear();
        let mut frame = Frame::begin(&mut text, size, cores.len()).unwrap();
        for (number, core) in cores.iter().enumerate() {
            if !frame.core(core, &History::NONE, 1000, cores.len() - number - 1).unwrap() {
                break;
            }
        }
        frame.end().unwrap();
        assert!(text.len() <= 4096, "{} bytes are more than the console's line", text.len());
        terminal.show(&text);
        (text, terminal)
    }

    #[test]
    fn what_is_shared_comes_first_and_goes_on_in_a_second_row() {
        let shares =
            [("boot", 1, 0b10001), ("worker", 2, 1), ("memclone team", 3, 0b1111), ("console", 4, 0b11111)];
        let (_, terminal) = draw(Size::USUAL, &[stat(0, &shares), stat(1, &shares[2..])]);
        assert_eq!(terminal.row(0), "core mode   faults/s IPIs/s calls/s   shares held (by these cores)");
        assert_eq!(
            terminal.row(1),
            "   0 user          -      -       -   boot(0,4) memclone team(0-3) console(0-4)"
        );
        assert_eq!(terminal.row(2), format!("{:38}worker", ""));
        assert_eq!(terminal.row(3), "   1 user          -      -       -   memclone team(0-3) console(0-4)");
        assert_eq!(terminal.row(5), "-".repeat(80));
        assert_eq!(terminal.at, (23, 0), "the line break that follows moves nothing");
    }

    #[test]
    fn any_number_of_cores_fits_any_terminal() {
        let all = (u64::MAX, "a share with such a long name..");
        for cores in [1, 2, 5, 16, 64, 255] {
            let shares = [
                ("console", 1, u64::MAX),
                (all.1, 2, all.0),
                ("odd", 3, 0xaaaa_aaaa_aaaa_aaaa),
                ("own", 4, 1),
            ];
            let stats: Vec<_> = (0..cores).map(|core| stat(core, &shares)).collect();
            for (rows, columns) in [(25, 80), (24, 80), (10, 40), (50, 132), (6, 20), (40, 50)] {
                let (_, terminal) = draw(Size { rows, columns }, &stats);
                let height = Size { rows, columns }.height(stats.len());
                assert!(height + 3 <= rows, "{cores} cores on {rows} rows: {height} and a rule");
                let shown = (1..height).filter(|row| terminal.row(*row).contains("user")).count();
                let more = (1..height).find(|row| terminal.row(*row).contains("and "));
                assert!(shown as u64 == cores || more.is_some(), "{cores} cores, {rows} rows: {shown} shown");
                assert!((0..height).all(|row| !terminal.row(row).contains('~')), "old text");
                assert!(terminal.row(height).starts_with("---"));
            }
        }
    }

    #[test]
    fn new_shares_are_bold_and_their_letters_are_counted_alone() {
        let mut history = History::NONE;
        history.remember(&stat(3, &[("old", 1, 1)]));
        let mut now = stat(3, &[("old", 1, 1), ("new", 2, 0b1001)]);
        now.tsc = 1000;
        let mut text = String::new();
        let mut frame = Frame::begin(&mut text, Size::USUAL, 1).unwrap();
        frame.core(&now, &history, 1000, 0).unwrap();
        frame.end().unwrap();
        assert!(text.contains("\u{1b}[1mnew(0,3)\u{1b}[0m old "), "{text:?}");
    }

    #[test]
    fn names_cannot_draw() {
        let (text, _) = draw(Size::USUAL, &[stat(0, &[("\u{1b}[2J", 1, 1)])]);
        assert!(!text.contains("\u{1b}[2J") && text.contains("? "));
        assert_eq!(MACHINE_CORES, 256);
    }

    #[test]
    fn a_kernel_core_says_what_its_turns_were_for() {
        let mut before = History::NONE;
        let mut now = stat(1, &[("names", 1, 2)]);
        (now.mode, now.tsc) = (core_mode::KERNEL_CORE, 1_000);
        before.remember(&now);
        (now.tsc, now.turns, now.useful, now.ring_calls) = (2_000, 9_000, 40, 100);
        let mut text = String::new();
        let mut frame = Frame::begin(&mut text, Size { rows: 24, columns: 80 }, 2).unwrap();
        frame.core(&now, &before, 1_000, 0).unwrap();
        assert!(text.ends_with("polls         0      0     100   9000 turns/s, 40 useful names "), "{text}");
    }
}
