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
}

// SAFETY: other cores may hold references but reach no field: every access goes through the core's own GS.
unsafe impl Sync for Block {}

impl Block {
    /// Offset of [`Block::kernel`].
    pub const KERNEL: usize = 24;
    /// Offset of [`Block::core`].
    pub const CORE: usize = 32;
}

const _: () = assert!(core::mem::offset_of!(Block, stack) == 8);
const _: () = assert!(core::mem::offset_of!(Block, user_stack) == 16);
const _: () = assert!(core::mem::offset_of!(Block, kernel) == Block::KERNEL);
const _: () = assert!(core::mem::offset_of!(Block, core) == Block::CORE);
