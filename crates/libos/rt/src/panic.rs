//! Panics of programs: a line on the console, and this core's pcore halts.

use crate::process;
use core::fmt;
use core::panic::PanicInfo;
use corey_abi::{CoreStat, MachineCalls, PcoreCalls, Plain};
use corey_libos_sys::{address_mut, sys};

/// What a pcore halts with after a panic.
pub const PANIC_VALUE: u32 = 101;

/// Which core, if it can be known: only who holds a share that names its pcore can ask.
struct Where(Option<u64>);

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |core| write!(f, " on core {core}"))
    }
}

fn core() -> Where {
    let mut bytes = [0; CoreStat::BYTES];
    let own = sys().pcore_current().and_then(|own| sys().core_stat(own, address_mut(&mut bytes)));
    Where(own.ok().and_then(|()| CoreStat::from_bytes(&bytes)).map(|stat| stat.core))
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let (core, message) = (core(), info.message());
    match info.location() {
        Some(at) => crate::println!("program panic{core} at {}:{}: {message}", at.file(), at.line()),
        None => crate::println!("program panic{core}: {message}"),
    }
    process::halt(PANIC_VALUE)
}
