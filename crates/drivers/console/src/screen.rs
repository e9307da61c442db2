//! A screen of 80 × 25 cells of character and attribute, as VGA text has them (IBM VGA text mode 3).

use corey_kernel_hal::Cells;

/// Cells of a row.
pub const COLUMNS: usize = 80;
/// Rows.
pub const ROWS: usize = 25;
/// Light grey on black.
const ATTRIBUTE: u16 = 0x0700;

/// Numbers of an escape sequence that mean something here.
const NUMBERS: usize = 2;

/// What is on the screen; device memory is only written.
#[derive(Debug)]
pub struct Screen {
    cells: [[u8; COLUMNS]; ROWS],
    /// What the device shows; 0 where that is not known. Cells that show already what they should are not written: a device is slow.
    shown: [[u8; COLUMNS]; ROWS],
    row: usize,
    column: usize,
    /// First row that moves up when text goes beyond the last one.
    top: usize,
    escape: Escape,
    /// Numbers of the sequence so far, and which one is being read.
    numbers: [usize; NUMBERS],
    number: usize,
}

/// How far an ANSI escape sequence (ECMA-48) has come: after ESC, after its bracket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    Begun,
    Inside,
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

impl Screen {
    /// An empty screen; text appears on the last row and moves up.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            cells: [[b' '; COLUMNS]; ROWS],
            shown: [[0; COLUMNS]; ROWS],
            row: ROWS - 1,
            column: 0,
            top: 0,
            escape: Escape::None,
            numbers: [0; NUMBERS],
            number: 0,
        }
    }

    /// Shows bytes. A long line wraps; a tab is four blanks; what has no glyph shows as `?`. Of escape sequences it
    /// knows those that move the cursor to a place and up, clear the screen and the rest of a row, and say
    /// which rows scroll (`H A J K r`); the others show as nothing.
    pub fn write(&mut self, device: &impl Cells, bytes: &[u8]) {
        let mut changed = false;
        for byte in bytes {
            match (self.escape, byte) {
                (Escape::None, 0x1b) => self.escape = Escape::Begun,
                (Escape::None, _) => changed |= self.show(device, *byte),
                (Escape::Begun, b'[') => {
                    (self.escape, self.numbers, self.number) = (Escape::Inside, [0; NUMBERS], 0);
                }
                (Escape::Inside, b'0'..=b'9') => {
                    if let Some(number) = self.numbers.get_mut(self.number) {
                        *number = number.saturating_mul(10).saturating_add(usize::from(byte - b'0'));
                    }
                }
                (Escape::Inside, b';') => self.number = self.number.saturating_add(1),
                (Escape::Inside, 0x20..=0x3f) => {}
                // The last byte of a sequence, or what none can have.
                (state, _) => {
                    self.escape = Escape::None;
                    changed |= state == Escape::Inside && self.obey(*byte);
                }
            }
        }
        if changed {
            self.refresh(device);
        }
    }

    /// Shows everything on a device of which nothing is known.
    pub fn show_all(&mut self, device: &impl Cells) {
        self.shown = [[0; COLUMNS]; ROWS];
        self.refresh(device);
    }

    /// Writes the cells that show something else.
    fn refresh(&mut self, device: &impl Cells) {
        let cells = self.cells.as_flattened().iter().zip(self.shown.as_flattened_mut());
        for (index, (byte, shown)) in cells.enumerate().filter(|(_, (byte, shown))| byte != shown) {
            *shown = *byte;
            device.write(index, ATTRIBUTE | u16::from(*byte));
        }
    }

    /// Ends an escape sequence. Says whether cells changed.
    fn obey(&mut self, command: u8) -> bool {
        let [first, second] = self.numbers;
        match command {
            b'H' => (self.row, self.column) = (place(first, ROWS), place(second, COLUMNS)),
            b'A' => self.row = self.row.saturating_sub(first.max(1)),
            b'r' => (self.top, self.row, self.column) = (place(first, ROWS), 0, 0),
            b'J' => self.cells = [[b' '; COLUMNS]; ROWS],
            b'K' => {
                let rest = self.cells.get_mut(self.row).and_then(|row| row.get_mut(self.column..));
                rest.into_iter().for_each(|rest| rest.fill(b' '));
            }
            _ => {}
        }
        matches!(command, b'J' | b'K')
    }

    /// Shows one byte. Says whether other cells than its own changed.
    fn show(&mut self, device: &impl Cells, byte: u8) -> bool {
        match byte {
            b'\n' => self.next_row(),
            b'\r' => {
                self.column = 0;
                false
            }
            b'\t' => (0..4).fold(false, |moved, _| moved | self.put(device, b' ')),
            0x20..=0x7e => self.put(device, byte),
            _ => self.put(device, b'?'),
        }
    }

    fn put(&mut self, device: &impl Cells, byte: u8) -> bool {
        let moved = self.column == COLUMNS && self.next_row();
        let at = self.row * COLUMNS + self.column;
        let cell = self.cells.as_flattened_mut().get_mut(at);
        if let Some((cell, shown)) = cell.zip(self.shown.as_flattened_mut().get_mut(at)) {
            *cell = byte;
            if *shown != byte {
                *shown = byte;
                device.write(at, ATTRIBUTE | u16::from(byte));
            }
            self.column += 1;
        }
        moved
    }

    /// Goes to the next row; on the last one, the rows from `top` on move up. Says whether they did.
    fn next_row(&mut self) -> bool {
        self.column = 0;
        if self.row + 1 < ROWS {
            self.row += 1;
            return false;
        }
        if let Some(rows) = self.cells.get_mut(self.top..) {
            rows.rotate_left(1);
        }
        self.cells[ROWS - 1] = [b' '; COLUMNS];
        true
    }
}

/// The place that a number of an escape sequence names, counted from 1; beyond the end it is the last.
fn place(number: usize, places: usize) -> usize {
    number.clamp(1, places) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    struct Memory(RefCell<Vec<u16>>);
    impl Cells for Memory {
        fn write(&self, index: usize, value: u16) {
            self.0.borrow_mut()[index] = value;
        }
    }

    fn row(memory: &Memory, row: usize) -> String {
        let cells = memory.0.borrow();
        let text: String =
            cells[row * COLUMNS..(row + 1) * COLUMNS].iter().map(|c| char::from(*c as u8)).collect();
        text.trim_end().to_owned()
    }

    #[test]
    fn text_moves_up_and_long_lines_wrap() {
        let memory = Memory(RefCell::new(vec![0; COLUMNS * ROWS]));
        let mut screen = Screen::new();
        screen.write(&memory, b"first\nsecond");
        assert_eq!(row(&memory, ROWS - 2), "first");
        assert_eq!(row(&memory, ROWS - 1), "second");
        screen.write(&memory, &[b'x'; 100]);
        assert_eq!(row(&memory, ROWS - 1).len(), 26);
        screen.write(&memory, b"\n\x01");
        assert_eq!(row(&memory, ROWS - 1), "?");
    }

    #[test]
    fn escape_sequences_place_text_and_keep_rows_where_they_are() {
        let memory = Memory(RefCell::new(vec![0; COLUMNS * ROWS]));
        let mut screen = Screen::new();
        screen
            .write(&memory, b"below\x1b[2J\x1b[3;999r\x1b[1;1Hhead\x1b[K\x1b[2;5Hsecond\x1b[1m bold\x1b[0m");
        assert_eq!((row(&memory, 0), row(&memory, 1)), ("head".into(), "    second bold".into()));
        assert_eq!(row(&memory, ROWS - 1), "");
        screen.write(&memory, b"\x1b[999;1H\x1b[A\n");
        (0..ROWS).for_each(|n| screen.write(&memory, format!("line {n}\n").as_bytes()));
        assert_eq!((row(&memory, 0), row(&memory, 1)), ("head".into(), "    second bold".into()));
        assert_eq!((row(&memory, 2), row(&memory, ROWS - 2)), ("line 3".into(), "line 24".into()));
        screen.write(&memory, b"\x1b[2;1Hs\x1b[K\x1b[70000000000000000000000;Hx\x1b[;;;;9m\x1b7y\x1b[r");
        assert_eq!((row(&memory, 1), row(&memory, ROWS - 1)), ("s".into(), "xy".into()));
        screen.write(&memory, b"\x1b[25;1H\n");
        assert_eq!(row(&memory, 0), "s");
    }
}
