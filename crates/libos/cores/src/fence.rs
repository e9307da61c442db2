//! [`CoreFence`]: a fence that a writer forces on the cores of readers.

use corey_abi::{Id, MachineCalls};
use corey_lib_sync::Fence;
use corey_libos_rt::sys::sys;

/// `core_fence` of the share that all threads of a program hold ([`crate::Here::fence`]).
#[derive(Clone, Copy, Debug)]
pub struct CoreFence {
    share: Id,
}

impl CoreFence {
    pub(crate) fn of_holders(share: Id) -> Self {
        Self { share }
    }
}

// SAFETY: `core_fence` returns when every core that holds the share has fenced, and the caller's has. A reference
// to a lock reaches another core through a scope's closure or a static: a thread of this program, which holds that
// share from its first instruction to its last.
unsafe impl Fence for CoreFence {
    fn force(&mut self) {
        let done = sys().core_fence(self.share);
        assert_eq!(done, Ok(()), "the program's share was dropped on this core: no fence can be forced");
    }
}
