//! The console as an object.

use corey_abi::Error;

/// A buffer in a segment: what its header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelBuffer {
    /// Whether the program gave it away.
    pub ready: bool,
    /// Data bytes, as the header says.
    pub length: u64,
}

/// One device, taken or not, and the segment that holds its buffers.
#[derive(Clone, Copy, Debug)]
pub struct ModelDevice {
    taken: bool,
    /// Bytes of the segment.
    bytes: u64,
    /// Bytes of a line at most.
    longest: u64,
}

impl ModelDevice {
    /// A free device; buffers lie in a segment of `bytes`, and a line has at most `longest`.
    #[must_use]
    pub fn new(bytes: u64, longest: u64) -> Self {
        Self { taken: false, bytes, longest }
    }

    /// `device_alloc` of device number `number`.
    ///
    /// # Errors
    ///
    /// As the call.
    pub fn alloc(&mut self, number: u64) -> Result<(), Error> {
        match (number, self.taken) {
            (0, false) => {
                self.taken = true;
                Ok(())
            }
            (0, true) => Err(Error::Busy),
            _ => Err(Error::NotFound),
        }
    }

    /// Its end.
    pub fn free(&mut self) {
        self.taken = false;
    }

    /// `device_buf` with `operation` of the buffer at `offset`; true when a line was written.
    ///
    /// # Errors
    ///
    /// As the call.
    pub fn buffer(&self, operation: u64, offset: u64, buffer: ModelBuffer) -> Result<bool, Error> {
        const HEADER: u64 = 16;
        match operation {
            0 => {}
            1 => return Err(Error::Unsupported),
            2 | 3 => return Ok(false),
            _ => return Err(Error::BadArgument),
        }
        if !offset.is_multiple_of(16) {
            return Err(Error::Misaligned);
        }
        if offset + HEADER > self.bytes {
            return Err(Error::OutOfRange);
        }
        if !buffer.ready {
            return Err(Error::Busy);
        }
        if buffer.length > self.longest || offset + HEADER + buffer.length > self.bytes {
            return Err(Error::OutOfRange);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_taken_once_and_lines_lie_in_the_segment() {
        let mut model = ModelDevice::new(8192, 4096);
        assert_eq!(
            (model.alloc(0), model.alloc(0), model.alloc(1)),
            (Ok(()), Err(Error::Busy), Err(Error::NotFound))
        );
        let buffer = ModelBuffer { ready: true, length: 4096 };
        assert_eq!(model.buffer(0, 4080, buffer), Ok(true));
        assert_eq!(model.buffer(0, 4096, buffer), Err(Error::OutOfRange));
        assert_eq!(model.buffer(0, 8, buffer), Err(Error::Misaligned));
        assert_eq!(model.buffer(0, 0, ModelBuffer::default()), Err(Error::Busy));
        model.free();
        assert_eq!(model.alloc(0), Ok(()));
    }
}
