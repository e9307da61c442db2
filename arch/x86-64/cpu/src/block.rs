//! What GS points to: one block per core.

use core::cell::UnsafeCell;

/// One core's block. Only the core itself reaches it, through GS. Offsets are known to the entry code.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Block {
    /// 0: this block's address.
    pub own: u64,
    /// 8: top of the kernel stack.
    pub stack: u64,
    /// 16: the user's stack pointer, while a system call enters.
    pub user_stack: UnsafeCell<u64>,
    /// 24: the core's kernel, as the facade knows it.
    pub kernel: UnsafeCell<u64>,
    /// 32: the core's number.
    pub core: u64,
    /// 40: with tables apart, what CR3 is in the kernel, while user code runs.
    pub(crate) root: UnsafeCell<u64>,
    /// 48: with tables apart, a register's value while none is free.
    pub(crate) scratch: UnsafeCell<u64>,
    /// 56: with tables apart, what CR3 is in user mode.
    pub(crate) user_root: u64,
    /// 64: with tables apart, where the kernel has the top-level table of user mode.
    pub(crate) user_table: u64,
    /// 72: with tables apart, where the processor's frame lies on the trampoline's stack.
    pub(crate) frame: u64,
}

// SAFETY: other cores may hold references but reach no field: every access goes through the core's own GS.
unsafe impl Sync for Block {}

impl Block {
    /// Offset of [`Block::kernel`].
    pub const KERNEL: usize = 24;
    /// Offset of [`Block::core`].
    pub const CORE: usize = 32;
    pub(crate) const ROOT: usize = 40;
    pub(crate) const SCRATCH: usize = 48;
    pub(crate) const USER_ROOT: usize = 56;
    pub(crate) const USER_TABLE: usize = 64;
    pub(crate) const FRAME: usize = 72;

    /// The block of core `core`, whose kernel stack ends at `stack`.
    #[must_use]
    pub fn new(core: u64, stack: u64) -> Self {
        Self {
            own: 0,
            stack,
            user_stack: UnsafeCell::new(0),
            kernel: UnsafeCell::new(0),
            core,
            root: UnsafeCell::new(0),
            scratch: UnsafeCell::new(0),
            user_root: 0,
            user_table: 0,
            frame: 0,
        }
    }
}

const _: () = assert!(core::mem::offset_of!(Block, stack) == 8);
const _: () = assert!(core::mem::offset_of!(Block, user_stack) == 16);
const _: () = assert!(core::mem::offset_of!(Block, kernel) == Block::KERNEL);
const _: () = assert!(core::mem::offset_of!(Block, core) == Block::CORE);
const _: () = assert!(core::mem::offset_of!(Block, root) == Block::ROOT);
const _: () = assert!(core::mem::offset_of!(Block, scratch) == Block::SCRATCH);
const _: () = assert!(core::mem::offset_of!(Block, user_root) == Block::USER_ROOT);
const _: () = assert!(core::mem::offset_of!(Block, user_table) == Block::USER_TABLE);
const _: () = assert!(core::mem::offset_of!(Block, frame) == Block::FRAME);
