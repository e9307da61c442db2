//! What went wrong, and on which core.

use core::fmt;
use corey_abi::Error;
use corey_libos_rt::PANIC_VALUE;
use corey_libos_rt::vm::Ended;

/// Why there is no result from a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The core.
    pub core: u16,
    /// What happened.
    pub how: How,
}

/// How a thread failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It was not started: the core has another owner.
    Taken,
    /// It was not started: the machine has no such core.
    NoSuchCore,
    /// It was not started: a call failed.
    NotStarted(Error),
    /// It panicked; the message is on the console.
    Panicked,
    /// It halted its pcore with this value, and so returned nothing.
    Halted(u32),
    /// Another core halted it with this value.
    HaltedByOther(u32),
    /// An exception.
    Fault {
        /// Its vector: 14 is a page fault.
        vector: u32,
        /// The address of a page fault.
        address: u64,
    },
    /// It lost a share it stood on, or its core.
    Lost,
}

impl Failure {
    /// A thread that did not start.
    pub(crate) fn start(core: u16, error: Error) -> Self {
        let how = match error {
            Error::Busy => How::Taken,
            error => How::NotStarted(error),
        };
        Self { core, how }
    }

    /// A thread that ended without a result.
    pub(crate) fn end(core: u16, ended: Ended) -> Self {
        let how = match ended {
            Ended::Halted(PANIC_VALUE) => How::Panicked,
            Ended::Halted(value) => How::Halted(value),
            Ended::HaltedByOther(value) => How::HaltedByOther(value),
            Ended::Fault(vector, address) => How::Fault { vector, address },
            Ended::Lost => How::Lost,
        };
        Self { core, how }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "core {}: ", self.core)?;
        match self.how {
            How::Taken => f.write_str("it is taken"),
            How::NoSuchCore => f.write_str("there is no such core"),
            How::NotStarted(error) => {
                f.write_str("the thread was not started: ")?;
                match error {
                    Error::QuotaExceeded => f.write_str("a share cannot pay for it (pages or objects)"),
                    Error::NoMemory => f.write_str("no memory is left"),
                    Error::Full => f.write_str("its parent holds too many shares, or its tree has no slot"),
                    error => write!(f, "{error:?}"),
                }
            }
            How::Panicked => f.write_str("the thread panicked"),
            How::Halted(value) => write!(f, "the thread halted with {value}"),
            How::HaltedByOther(value) => write!(f, "another core halted the thread with {value}"),
            How::Fault { vector, address } => {
                write!(f, "the thread took exception {vector} at address {address:#x}")
            }
            How::Lost => f.write_str("the thread lost a share it stood on, or its core"),
        }
    }
}
