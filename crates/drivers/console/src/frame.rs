//! A framebuffer as a screen of character cells: each cell a glyph of a fixed font, the whole in the middle of the picture.

use crate::screen::{COLUMNS, ROWS};
use corey_kernel_hal::{Cells, Pixels};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, RasterizedChar, get_raster, get_raster_width};

const SIZE: RasterHeight = RasterHeight::Size16;
/// Pixels of a cell.
const CELL: (usize, usize) = (get_raster_width(FontWeight::Regular, SIZE), SIZE.val());
/// Pixels of the picture for each of a glyph's, one way, at most.
const SCALE: usize = 4;
/// Bytes of a pixel at most.
const PIXEL: usize = 4;
/// Bytes of a glyph's row at most.
const ROW: usize = CELL.0 * SCALE * PIXEL;
/// Of text, of 255.
const LIGHT: u32 = 0xaa;

/// Where a colour lies in a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour {
    /// Its lowest bit.
    pub position: u8,
    /// How many bits.
    pub bits: u8,
}

impl Colour {
    /// A brightness of 0 to 255 in this colour.
    fn of(self, light: u32) -> u32 {
        light >> (8 - self.bits) << self.position
    }
}

/// How a framebuffer's memory is laid out, and where the text is in it.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    width: usize,
    height: usize,
    pitch: usize,
    /// Bytes of a pixel.
    pixel: usize,
    colours: [Colour; 3],
    scale: usize,
}

impl Frame {
    /// A picture of `width` times `height` pixels of `bits` bits each, whose rows begin `pitch` bytes after each other, with colours at
    /// these places.
    ///
    /// # Errors
    ///
    /// Why no text can be shown there.
    pub fn new(
        (width, height): (u32, u32),
        pitch: u32,
        bits: u8,
        colours: [Colour; 3],
    ) -> Result<Self, &'static str> {
        let (width, height, pitch) = (width as usize, height as usize, pitch as usize);
        let pixel = usize::from(bits.div_ceil(8));
        let fits = |colour: &Colour| {
            colour.bits <= 8 && usize::from(colour.position) + usize::from(colour.bits) <= 8 * pixel
        };
        if !(2..=PIXEL).contains(&pixel) || !colours.iter().all(fits) {
            return Err("its pixels are of no kind that is known");
        }
        if width > 1 << 15 || height > 1 << 15 || pitch > 1 << 18 || width * pixel > pitch {
            return Err("its size makes no sense");
        }
        let scale = (width / (COLUMNS * CELL.0)).min(height / (ROWS * CELL.1)).min(SCALE);
        if scale == 0 {
            return Err("it is too small for 80 columns of 25 rows");
        }
        Ok(Self { width, height, pitch, pixel, colours, scale })
    }

    /// Bytes of its memory.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.pitch * self.height
    }

    /// Makes it black.
    pub fn clear(&self, memory: &impl Pixels) {
        let black = [0; 256];
        let row = self.width * self.pixel;
        for y in 0..self.height {
            for from in (0..row).step_by(black.len()) {
                let part = black.get(..(row - from).min(black.len())).unwrap_or(&black);
                memory.write(y * self.pitch + from, part);
            }
        }
    }

    /// It as cells, in `memory`.
    pub const fn cells<P: Pixels>(&self, memory: P) -> FrameCells<'_, P> {
        FrameCells { frame: self, memory }
    }

    /// A pixel of a glyph, so bright.
    fn colour(&self, light: u8) -> [u8; PIXEL] {
        let light = u32::from(light) * LIGHT / 255;
        self.colours.iter().fold(0, |sum, colour| sum | colour.of(light)).to_le_bytes()
    }
}

/// The cells of a framebuffer.
#[derive(Debug)]
pub struct FrameCells<'a, P> {
    frame: &'a Frame,
    memory: P,
}

impl<P: Pixels> Cells for FrameCells<'_, P> {
    /// Draws the character in the lower byte.
    fn write(&self, index: usize, value: u16) {
        let frame = self.frame;
        let (row, column) = (index / COLUMNS, index % COLUMNS);
        if row >= ROWS {
            return;
        }
        let Some(glyph) = glyph(value as u8) else { return };
        let (wide, high) = (CELL.0 * frame.scale, CELL.1 * frame.scale);
        let left = (frame.width - COLUMNS * wide) / 2 + column * wide;
        let top = (frame.height - ROWS * high) / 2 + row * high;
        for (y, lights) in glyph.rows().enumerate() {
            let mut bytes = [0; ROW];
            // Pixels have two bytes at least, which the compiler does not see.
            let pixels =
                lights.iter().flat_map(|light| core::iter::repeat_n(frame.colour(*light), frame.scale));
            for (to, pixel) in bytes.chunks_exact_mut(frame.pixel.max(2)).zip(pixels) {
                to.iter_mut().zip(pixel).for_each(|(to, byte)| *to = byte);
            }
            let Some(bytes) = bytes.get(..wide * frame.pixel) else { continue };
            for line in 0..frame.scale {
                let at = top + y * frame.scale + line;
                self.memory.write(at * frame.pitch + left * frame.pixel, bytes);
            }
        }
    }
}

/// A character's glyph; what has none is a question mark, as everywhere here.
fn glyph(byte: u8) -> Option<RasterizedChar> {
    let of = |byte: u8| get_raster(char::from(byte), FontWeight::Regular, SIZE);
    of(byte).or_else(|| of(b'?'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Screen;
    use std::cell::RefCell;

    const RGB: [Colour; 3] =
        [Colour { position: 16, bits: 8 }, Colour { position: 8, bits: 8 }, Colour { position: 0, bits: 8 }];
    const RGB565: [Colour; 3] =
        [Colour { position: 11, bits: 5 }, Colour { position: 5, bits: 6 }, Colour { position: 0, bits: 5 }];

    struct Memory(RefCell<Vec<u8>>);

    impl Pixels for &Memory {
        fn write(&self, offset: usize, bytes: &[u8]) {
            self.0.borrow_mut()[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
    }

    fn drawn(frame: &Frame, text: &str) -> Vec<u8> {
        let memory = Memory(RefCell::new(vec![0x55; frame.bytes()]));
        frame.clear(&&memory);
        Screen::new().write(&frame.cells(&memory), text.as_bytes());
        memory.0.into_inner()
    }

    /// The pixels of a cell, as which of them are lit.
    fn cell(frame: &Frame, memory: &[u8], row: usize, column: usize) -> Vec<bool> {
        let (wide, high) = (CELL.0 * frame.scale, CELL.1 * frame.scale);
        let left = (frame.width - COLUMNS * wide) / 2 + column * wide;
        let top = (frame.height - ROWS * high) / 2 + row * high;
        let pixel = |x: usize, y: usize| {
            let at = (top + y) * frame.pitch + (left + x) * frame.pixel;
            memory[at..at + frame.pixel].iter().any(|byte| *byte != 0)
        };
        (0..high).flat_map(|y| (0..wide).map(move |x| (x, y))).map(|(x, y)| pixel(x, y)).collect()
    }

    #[test]
    fn glyphs_stand_in_their_cells_at_every_scale_and_depth() {
        for (size, bits, colours, scale) in [
            ((640, 480), 32, RGB, 1),
            ((1280, 800), 32, RGB, 2),
            ((1024, 768), 24, RGB, 1),
            ((800, 600), 16, RGB565, 1),
            ((7680, 4320), 32, RGB, 4),
        ] {
            let frame = Frame::new(size, size.0 * 4 + 64, bits, colours).unwrap();
            assert_eq!(frame.scale, scale);
            let memory = drawn(&frame, "A b\nA");
            let last = ROWS - 1;
            let [a, blank, b] = [0, 1, 2].map(|column| cell(&frame, &memory, last - 1, column));
            assert!(a.iter().any(|lit| *lit) && b.iter().any(|lit| *lit) && a != b);
            assert!(blank.iter().all(|lit| !lit));
            assert_eq!(cell(&frame, &memory, last, 0), a, "the same glyph in the next row");
            assert!((0..last - 1).all(|row| cell(&frame, &memory, row, 0).iter().all(|lit| !lit)));
            // Nothing is written between the rows of the picture.
            let rows = memory.chunks_exact(frame.pitch);
            assert!(
                rows.into_iter().all(|row| row[frame.width * frame.pixel..].iter().all(|byte| *byte == 0x55))
            );
        }
    }

    #[test]
    fn text_is_grey_in_every_colour_and_what_is_no_character_a_question_mark() {
        let frame = Frame::new((640, 480), 2560, 32, RGB).unwrap();
        let memory = drawn(&frame, "\u{1}");
        let mut pixels = memory.chunks_exact(4);
        assert!(pixels.all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2] && pixel[3] == 0));
        let brightest = *memory.iter().max().unwrap();
        assert!((0x90..=0xaa).contains(&brightest), "{brightest:x}");
        assert_eq!(memory, drawn(&frame, "?"));
    }

    #[test]
    fn frames_that_cannot_be_are_refused() {
        let new = |size, pitch, bits| Frame::new(size, pitch, bits, RGB).err();
        assert_eq!(new((320, 200), 1280, 32), Some("it is too small for 80 columns of 25 rows"));
        for (size, pitch) in [((640, 480), 2559), ((u32::MAX, 480), u32::MAX), ((640, u32::MAX), 2560)] {
            assert_eq!(new(size, pitch, 32), Some("its size makes no sense"));
        }
        for bits in [0, 1, 8, 16, 40, 255] {
            assert_eq!(new((640, 480), 8000, bits), Some("its pixels are of no kind that is known"));
        }
        let nine = [Colour { position: 0, bits: 9 }; 3];
        assert!(Frame::new((640, 480), 2560, 32, nine).is_err());
        let far = [Colour { position: 255, bits: 8 }; 3];
        assert!(Frame::new((640, 480), 2560, 32, far).is_err());
    }
}
