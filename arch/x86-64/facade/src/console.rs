//! The console of the machine: serial port and screen behind one lock, and the log.

use core::cell::UnsafeCell;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering};
use corey_arch_x86_64_asm::{in8, out8, pause};
use corey_arch_x86_64_boot::Framebuffer;
use corey_arch_x86_64_paging::direct;
use corey_drivers_console::{COLUMNS, Colour, Frame, ROWS, Screen, Serial};
use corey_kernel_hal::{Cells, Pixels, Ports};

/// The machine's I/O ports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct X86Ports;

impl Ports for X86Ports {
    fn read(&self, port: u16) -> u8 {
        in8(port)
    }
    fn write(&self, port: u16, value: u8) {
        out8(port, value);
    }
}

/// VGA text memory, through the direct map.
struct TextMemory;

impl Cells for TextMemory {
    fn write(&self, index: usize, value: u16) {
        if index < COLUMNS * ROWS {
            // SAFETY: inside the 32 KiB of text memory at 0xb8000, which the direct map has from the start.
            unsafe { direct(0xb_8000).cast::<u16>().wrapping_add(index).write_volatile(value) };
        }
    }
}

/// A framebuffer's memory, through the direct map.
struct FrameMemory {
    physical: u64,
    bytes: usize,
}

impl Pixels for &FrameMemory {
    fn write(&self, offset: usize, bytes: &[u8]) {
        if offset.checked_add(bytes.len()).is_none_or(|end| end > self.bytes) {
            return;
        }
        let to = direct(self.physical).wrapping_add(offset);
        // Whole words where they fit: a write to a device is slow, however short it is.
        let (words, rest) =
            if to.addr().is_multiple_of(4) { bytes.as_chunks::<4>() } else { (&[][..], bytes) };
        for (index, word) in words.iter().enumerate() {
            // SAFETY: inside the framebuffer, which the direct map has from the start, and aligned; nobody else uses it.
            unsafe { to.cast::<u32>().wrapping_add(index).write_volatile(u32::from_ne_bytes(*word)) };
        }
        for (index, byte) in rest.iter().enumerate() {
            // SAFETY: as above.
            unsafe { to.wrapping_add(words.as_flattened().len() + index).write_volatile(*byte) };
        }
    }
}

/// What shows the screen's cells.
enum Display {
    Text,
    Frame(Frame, FrameMemory),
}

struct Devices {
    serial: Serial,
    screen: Screen,
    display: Display,
}

impl Devices {
    fn write(&mut self, bytes: &[u8]) {
        let Self { serial, screen, display } = self;
        serial.write(&X86Ports, bytes);
        match display {
            Display::Text => screen.write(&TextMemory, bytes),
            Display::Frame(frame, memory) => screen.write(&frame.cells(&*memory), bytes),
        }
    }
}

struct Console {
    /// 0, or who has the devices: 1 before a core has its own stack, else its number and 2.
    taken: AtomicU64,
    devices: UnsafeCell<Devices>,
}

// SAFETY: `devices` is reached only by who has `taken`, by who took that from a core that runs nothing more, or by a
// panic after the others were stopped.
unsafe impl Sync for Console {}

static CONSOLE: Console = Console {
    taken: AtomicU64::new(0),
    devices: UnsafeCell::new(Devices {
        serial: Serial::absent(),
        screen: Screen::new(),
        display: Display::Text,
    }),
};

/// Turns to wait for the console: a holder that was stopped by a panic never gives it back.
const PATIENCE: u32 = 100_000_000;

fn with(run: impl FnOnce(&mut Devices)) {
    let mut patience = PATIENCE;
    let own = crate::signs::this_core().map_or(1, |core| core as u64 + 2);
    while let Err(holder) = CONSOLE.taken.compare_exchange(0, own, Ordering::Acquire, Ordering::Relaxed)
        && patience > 0
    {
        let gone = holder.checked_sub(2).is_some_and(|core| crate::signs::has_stopped(core as usize));
        if gone && CONSOLE.taken.compare_exchange(holder, own, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            break;
        }
        pause();
        patience -= if crate::panic::under_way() { PATIENCE / 100 } else { 0 };
    }
    // SAFETY: the lock was taken; or its holder has stopped for good; or a panic is under way, the holder is stopped, and garbled output is
    // better than none.
    run(unsafe { &mut *CONSOLE.devices.get() });
    CONSOLE.taken.store(0, Ordering::Release);
}

/// Sets the devices up.
pub(crate) fn init() {
    with(|d| d.serial = Serial::new(&X86Ports, Serial::COM1));
    // The log is set once; a second time changes nothing.
    let _ = log::set_logger(&LOG);
    log::set_max_level(log::LevelFilter::Info);
}

/// Shows the screen in the picture that the loader left, if it did; it lies below `mapped_end`, or is not used. Says what was found.
pub(crate) fn show_in(framebuffer: Option<Framebuffer>, mapped_end: u64) {
    let Some(Framebuffer { address, size, pitch, bits, colours }) = framebuffer else {
        log::info!("screen: VGA text, if there is one");
        return;
    };
    let (width, height) = size;
    let colours = colours.map(|(position, bits)| Colour { position, bits });
    let frame = Frame::new(size, pitch, bits, colours).and_then(|frame| {
        let end = address.checked_add(frame.bytes() as u64);
        let mapped = address != 0 && end.is_some_and(|end| end <= mapped_end);
        if mapped { Ok(frame) } else { Err("it lies outside what the kernel maps") }
    });
    match frame {
        Ok(frame) => {
            with(|Devices { screen, display, .. }| {
                let memory = FrameMemory { physical: address, bytes: frame.bytes() };
                frame.clear(&&memory);
                screen.show_all(&frame.cells(&memory));
                *display = Display::Frame(frame, memory);
            });
            log::info!("screen: {width} x {height} pixels of {bits} bits at {address:#x}");
        }
        Err(why) => log::warn!(
            "screen: {width} x {height} pixels of {bits} bits at {address:#x}: {why}: it shows nothing"
        ),
    }
}

/// Writes bytes to all devices.
pub(crate) fn write(bytes: &[u8]) {
    with(|d| d.write(bytes));
}

/// Formats onto the console.
pub(crate) struct Out;

impl Write for Out {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write(text.as_bytes());
        Ok(())
    }
}

/// Prints a line.
macro_rules! println {
    ($($part:tt)*) => {{
        // The console takes everything.
        let _ = core::fmt::Write::write_fmt(&mut $crate::console::Out, format_args!("{}\n", format_args!($($part)*)));
    }};
}
pub(crate) use println;

struct Log;
static LOG: Log = Log;

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        // One write per line, so that lines of several cores do not mix.
        let mut line = heapless::String::<256>::new();
        let _ = write!(line, "corey: {}", record.args());
        let _ = line.push('\n');
        write(line.as_bytes());
    }

    fn flush(&self) {}
}
