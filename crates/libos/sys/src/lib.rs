//! System calls from user programs.
//!
//! **Paper.** §3; the calls are those of `crates/abi`.
//!
//! **Invariants.** A thin skin: one call here is one system call.
//!
//! **Sharing.** None: no state.
//!
//! **Testing.** The programs `images/test-*`.
#![no_std]
#![forbid(unsafe_code)]

pub use corey_abi as abi;
use corey_abi::{
    Client, Error, Home, Id, Name, ObjRef, SegmentCalls, Transport, UserPtr, Word, from_registers,
};
pub use corey_arch_x86_64_user::marker::{marker, pause, rdtsc};
pub use corey_arch_x86_64_user::{fork, fork_point, upcall, upcall_entry};

/// System calls by trap.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trap;

impl Transport for Trap {
    #[inline(always)]
    fn call<const N: usize>(&mut self, number: u64, args: [Word; 6]) -> Result<[Word; 2], Error> {
        from_registers(corey_arch_x86_64_user::syscall::<N>(number, args))
    }
}

/// The typed calls.
#[inline(always)]
#[must_use]
pub fn sys() -> Client<Trap> {
    Client(Trap)
}

/// A raw call, for tests of the kernel's manners.
///
/// # Errors
///
/// What the kernel answers.
pub fn raw(number: u64, args: [Word; 6]) -> Result<[Word; 2], Error> {
    Trap.call::<6>(number, args)
}

/// The address of a value, for the kernel.
#[must_use]
pub fn address<T>(value: &T) -> UserPtr {
    UserPtr(core::ptr::from_ref(value) as u64)
}

/// The address of a value the kernel will write.
#[must_use]
pub fn address_mut<T>(value: &mut T) -> UserPtr {
    UserPtr(core::ptr::from_mut(value) as u64)
}

/// A segment of `nbytes` in `share`.
///
/// # Errors
///
/// As `segment_alloc`.
pub fn segment(share: Id, nbytes: u64, name: &str) -> Result<ObjRef, Error> {
    let name = Name::new(name);
    let object = sys().segment_alloc(share, nbytes, Home::Any, 0, address(&name))?;
    Ok(ObjRef { share, object })
}
