//! A 16550 UART (National Semiconductor PC16550D data sheet), transmit only.

use corey_kernel_hal::Ports;

const DATA: u16 = 0;
const INTERRUPTS: u16 = 1;
const FIFO: u16 = 2;
const LINE: u16 = 3;
const MODEM: u16 = 4;
const STATUS: u16 = 5;
const SCRATCH: u16 = 7;
/// Line status: the transmitter takes a byte.
const READY: u8 = 1 << 5;
/// Turns to wait for the transmitter: longer than a byte takes at 115,200 baud.
const PATIENCE: u32 = 100_000;

/// A serial port at 115,200 baud, 8N1.
#[derive(Debug)]
pub struct Serial {
    base: u16,
    present: bool,
}

impl Serial {
    /// The first serial port of a PC.
    pub const COM1: u16 = 0x3f8;

    /// A port that was not set up: writes nothing.
    #[must_use]
    pub const fn absent() -> Self {
        Self { base: 0, present: false }
    }

    /// Sets the port at `base` up, if a UART answers there.
    pub fn new(ports: &impl Ports, base: u16) -> Self {
        ports.write(base + SCRATCH, 0x5a);
        let present = ports.read(base + SCRATCH) == 0x5a;
        if present {
            ports.write(base + INTERRUPTS, 0);
            ports.write(base + LINE, 0x80);
            ports.write(base + DATA, 1);
            ports.write(base + INTERRUPTS, 0);
            ports.write(base + LINE, 3);
            ports.write(base + FIFO, 0x07);
            ports.write(base + MODEM, 0x03);
        }
        Self { base, present }
    }

    /// Sends bytes; a line feed becomes carriage return and line feed.
    pub fn write(&mut self, ports: &impl Ports, bytes: &[u8]) {
        if !self.present {
            return;
        }
        for byte in bytes {
            if *byte == b'\n' {
                self.send(ports, b'\r');
            }
            self.send(ports, *byte);
        }
    }

    fn send(&self, ports: &impl Ports, byte: u8) {
        for _ in 0..PATIENCE {
            if ports.read(self.base + STATUS) & READY != 0 {
                break;
            }
            core::hint::spin_loop();
        }
        ports.write(self.base + DATA, byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// A UART with a scratch register, or none.
    struct Fake {
        there: bool,
        scratch: RefCell<u8>,
        sent: RefCell<Vec<u8>>,
    }

    impl Ports for Fake {
        fn read(&self, port: u16) -> u8 {
            match (self.there, port & 7) {
                (false, _) => 0xff,
                (true, SCRATCH) => *self.scratch.borrow(),
                (true, STATUS) => READY,
                _ => 0,
            }
        }
        fn write(&self, port: u16, value: u8) {
            match port & 7 {
                SCRATCH => *self.scratch.borrow_mut() = value,
                DATA => self.sent.borrow_mut().push(value),
                _ => {}
            }
        }
    }

    #[test]
    fn lines_end_as_terminals_want_and_a_missing_port_is_silent() {
        for there in [true, false] {
            let fake = Fake { there, scratch: RefCell::new(0), sent: RefCell::new(Vec::new()) };
            let mut serial = Serial::new(&fake, Serial::COM1);
            fake.sent.borrow_mut().clear();
            serial.write(&fake, b"a\nb");
            let expected: &[u8] = if there { b"a\r\nb" } else { b"" };
            assert_eq!(*fake.sent.borrow(), expected);
        }
    }
}
