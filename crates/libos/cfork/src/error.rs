//! Why there is no child.

use core::fmt;
use corey_abi::{Error, ObjRef};

/// Why there is no child. The parent is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CforkError {
    /// The core does not exist.
    NoSuchCore(u16),
    /// Something runs on the core.
    CoreTaken(u16),
    /// An interior tree is mapped here through a share that the child would not hold, and is not marked
    /// [`MapFlags::SHARED`](corey_abi::MapFlags::SHARED).
    PrivateInterior(u64, ObjRef),
    /// More mappings than cfork copies.
    TooManyMappings,
    /// A share cannot pay for the child, or a call failed: which step, and how.
    Call(&'static str, Error),
}

impl fmt::Display for CforkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchCore(core) => write!(f, "there is no core {core}"),
            Self::CoreTaken(core) => write!(f, "core {core} is taken"),
            Self::PrivateInterior(va, tree) => write!(
                f,
                "the interior tree {:#x} at {va:#x} is in share {:#x}, which the child does not get: pass that \
                 share, or map the tree with MapFlags::SHARED",
                tree.object.0, tree.share.0
            ),
            Self::TooManyMappings => write!(f, "more than {} mappings", crate::plan::MAPPINGS),
            Self::Call(step, Error::QuotaExceeded) => {
                write!(f, "{step}: the parent's share cannot pay for it (pages or objects)")
            }
            Self::Call(step, Error::NoMemory) => write!(f, "{step}: no memory is left"),
            Self::Call(step, error) => write!(f, "{step}: {error:?}"),
        }
    }
}
