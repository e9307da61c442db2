//! Who called: return addresses on this stack.

use crate::heaps::thread_block;
use core::fmt;

/// Most addresses shown.
const SHOWN: usize = 8;

unsafe extern "C" {
    /// The linker script's: where the program's code begins and ends.
    static IMAGE_BASE: u8;
    static IMAGE_TEXT_END: u8;
}

/// Shows the return addresses on this stack, the innermost first. `addr2line -fie` names them.
pub(crate) struct Callers(u64);

impl Callers {
    /// Those above `place`, a variable of the function whose callers are meant.
    pub(crate) fn above<T>(place: &T) -> Self {
        Self((core::ptr::from_ref(place) as u64).next_multiple_of(8))
    }
}

/// The byte at `address`, if that is code.
fn code(address: u64) -> Option<u8> {
    let (start, end) = (&raw const IMAGE_BASE as u64, &raw const IMAGE_TEXT_END as u64);
    // SAFETY: the program's code is mapped for as long as the program runs.
    (start..end).contains(&address).then(|| unsafe { (address as *const u8).read() })
}

/// Whether a call ends where `address` begins.
fn follows_call(address: u64) -> bool {
    let byte = |back: u64| code(address.wrapping_sub(back));
    // To a near address; else through a register or memory, in the forms a compiler uses: opcode 0xff, and 2 in
    // the next byte's middle bits.
    let indirect = |back| byte(back) == Some(0xff) && byte(back - 1).is_some_and(|modrm| modrm >> 3 & 7 == 2);
    code(address).is_some() && (byte(5) == Some(0xe8) || [2, 3, 6, 7].into_iter().any(indirect))
}

/// The return addresses on this stack above `place`, a variable on it; the innermost first. They are the words that
/// point behind a call in the program's code: programs have no frame pointers, so that a stale word may be among
/// them.
pub fn callers<T>(place: &T) -> impl Iterator<Item = u64> + use<T> {
    from(Callers::above(place).0)
}

fn from(address: u64) -> impl Iterator<Item = u64> {
    (address..thread_block())
        .step_by(8)
        // SAFETY: from a variable on this stack to its end, all of it is mapped.
        .map(|at| unsafe { (at as *const u64).read_volatile() })
        .filter(|word| follows_call(*word))
}

impl fmt::Display for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, address) in from(self.0).take(SHOWN).enumerate() {
            write!(f, "{}{address:#x}", if number == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}
