//! What user programs need of x86-64: the system-call stub, the start-up stub, markers, the time-stamp
//! counter, memory functions.
//!
//! **Paper.** None. Calling convention: `crates/abi`; registers: System V ABI.
//!
//! **Invariants.** Inlined to the instructions themselves: the null call's user side is the `syscall` and
//! its register moves.
//!
//! **Sharing.** None: no state.
//!
//! **Testing.** Every program in `images/`; unit tests of the memory functions.
#![cfg_attr(not(test), no_std)]
#![allow(unsafe_code, reason = "instructions that only assembly can name")]

pub mod fork;
pub mod marker;
pub mod memory;
mod syscall;
pub mod upcall;

pub use syscall::syscall;

/// Defines `_start`: no frame above, then `$main(rdi, rsi, rdx, rcx)`, which does not return.
#[macro_export]
macro_rules! start {
    ($main:path) => {
        /// Where the kernel enters the program.
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        extern "C" fn _start() -> ! {
            ::core::arch::naked_asm!("xor ebp, ebp", "call {main}", "ud2", main = sym $main)
        }
    };
}
