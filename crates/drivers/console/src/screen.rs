//! The VGA text screen (IBM VGA text mode 3): 80 × 25 cells of character and attribute.

use corey_kernel_hal::Cells;

/// Cells of a row.
pub const COLUMNS: usize = 80;
/// Rows.
pub const ROWS: usize = 25;
/// Light grey on black.
const ATTRIBUTE: u16 = 0x0700;

/// What is on the screen; device memory is only written.
#[derive(Debug)]
pub struct Screen {
    cells: [[u8; COLUMNS]; ROWS],
    column: usize,
    /// Inside an escape sequence: after ESC, or after its bracket.
    escape: Escape,
}

/// How far an ANSI escape sequence (ECMA-48) has come. The screen has no cursor: sequences show as nothing.
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
        Self { cells: [[b' '; COLUMNS]; ROWS], column: 0, escape: Escape::None }
    }

    /// Shows bytes. A long line wraps; a tab is four blanks; what has no glyph shows as `?`.
    pub fn write(&mut self, device: &impl Cells, bytes: &[u8]) {
        let mut scrolled = false;
        for byte in bytes {
            match (self.escape, byte) {
                (Escape::None, 0x1b) => self.escape = Escape::Begun,
                (Escape::Begun, b'[') => self.escape = Escape::Inside,
                (Escape::Inside, 0x20..=0x3f) => {}
                (Escape::None, _) => {}
                // The last byte of a sequence, or what none can have.
                _ => {
                    self.escape = Escape::None;
                    continue;
                }
            }
            if self.escape != Escape::None {
                continue;
            }
            match byte {
                b'\n' => {
                    self.scroll();
                    scrolled = true;
                }
                b'\r' => self.column = 0,
                b'\t' => (0..4).for_each(|_| scrolled |= self.put(device, b' ')),
                0x20..=0x7e => scrolled |= self.put(device, *byte),
                _ => scrolled |= self.put(device, b'?'),
            }
        }
        if scrolled {
            for (index, byte) in self.cells.as_flattened().iter().enumerate() {
                device.write(index, ATTRIBUTE | u16::from(*byte));
            }
        }
    }

    fn put(&mut self, device: &impl Cells, byte: u8) -> bool {
        let wrapped = self.column == COLUMNS;
        if wrapped {
            self.scroll();
        }
        if let Some(cell) = self.cells[ROWS - 1].get_mut(self.column) {
            *cell = byte;
            device.write((ROWS - 1) * COLUMNS + self.column, ATTRIBUTE | u16::from(byte));
            self.column += 1;
        }
        wrapped
    }

    fn scroll(&mut self) {
        self.cells.rotate_left(1);
        self.cells[ROWS - 1] = [b' '; COLUMNS];
        self.column = 0;
    }
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
        screen.write(&memory, b"\n\x1b[2;3Hseen\x1b[K too");
        assert_eq!(row(&memory, ROWS - 1), "seen too");
    }
}
