//! The page of a core that the ways into the kernel need: all of the kernel's data that user mode's tables map.

use crate::block::Block;
use crate::tables::{CoreTables, IST_STACKS};

/// Where the processor puts a frame before the kernel's tables are loaded. What is left on it is of the last one that
/// entered.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub(crate) struct Trampoline {
    room: [u64; 30],
    /// For the urgent ones, which have no GS: what CR3 is in the kernel, and the stack to go on with.
    pub(crate) root: u64,
    pub(crate) stack: u64,
}

impl Trampoline {
    const EMPTY: Self = Self { room: [0; 30], root: 0, stack: 0 };

    /// First address above its room.
    fn top(&self) -> u64 {
        &raw const self.root as u64
    }
}

/// One core's block, descriptor tables and trampolines, on a page of their own. Stays where it is once loaded.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct EntryPage {
    /// What GS points to.
    pub block: Block,
    pub(crate) tables: CoreTables,
    /// For exceptions and interrupts, then NMI, double fault and machine check.
    trampolines: [Trampoline; 1 + IST_STACKS],
}

const _: () = assert!(size_of::<EntryPage>() == 4096);

impl EntryPage {
    /// That of core `core`, with these stacks (tops).
    #[must_use]
    pub fn new(core: u64, stack: u64, urgent: [u64; IST_STACKS]) -> Self {
        Self {
            block: Block::new(core, stack),
            tables: CoreTables::new(stack, urgent),
            trampolines: [Trampoline::EMPTY; 1 + IST_STACKS],
        }
    }

    /// From here on the core enters by its trampolines, on the tables of user mode: those of root `user`, which the
    /// kernel has at `table`. `kernel` is the root of the kernel alone; `stack` and `urgent` as in [`EntryPage::new`].
    pub fn isolate(&mut self, user: u64, table: u64, kernel: u64, stack: u64, urgent: [u64; IST_STACKS]) {
        for (trampoline, stack) in self.trampolines.iter_mut().zip([stack].into_iter().chain(urgent)) {
            (trampoline.root, trampoline.stack) = (kernel, stack);
        }
        let [trap, urgent @ ..] = self.trampolines.each_ref().map(Trampoline::top);
        self.tables = CoreTables::new(trap, urgent);
        (self.block.user_root, self.block.user_table) = (user, table);
        // The processor pushes five words.
        self.block.frame = trap - 40;
    }
}
