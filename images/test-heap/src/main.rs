//! The heaps of a program: pointers that are good on every core, memory that comes back, what misuse is called.
//!
//! With `heap=check` the same, and what checking mode finds.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; blocks are taken and given by hand")]

extern crate alloc;

mod blocks;
mod cores;
mod misuse;

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use corey_abi::{Home, Id, Kinds, MachineCalls, MachineInfo, Name, ObjRef, ShareCalls, UserPtr};
use corey_libos_cores::Here;
use corey_libos_rt::sys::{address, sys};
use corey_libos_rt::{Process, Status, entry};
use corey_libos_test::Suite;

entry!(main);

fn main(process: Process) -> Status {
    let mut suite = Suite::new(&process, "heap");
    alone(&mut suite);
    let mut here = Here::first(process);
    blocks::private(&mut suite, &mut here);
    if here.process().info.header.cores < 2 {
        suite.check("heaps of several cores", true, "one core: there is no other");
    } else {
        cores::all(&mut suite, &mut here);
        misuse::all(&mut suite, &mut here);
    }
    suite.finish()
}

fn alone(suite: &mut Suite) {
    let mut text = String::new();
    (0..1000).for_each(|n| text.push(char::from(b'a' + (n % 26) as u8)));
    suite.check("strings grow", text.len() == 1000 && text.ends_with("yzabcdefghijkl"), text.len());
    let large: Vec<u64> = (0..1_000_000).collect();
    suite.equal("a large vector has memory of its own", large.iter().sum::<u64>(), 499_999_500_000);
    drop(large);
    let zeroes = vec![0_u8; 50_000];
    suite.equal("fresh memory is zero", zeroes.iter().map(|b| usize::from(*b)).sum::<usize>(), 0);
    let many: Vec<Vec<u8>> = (0..700).map(|n| vec![n as u8; 40_000]).collect();
    let good = many.iter().zip(0..).filter(|(block, n)| block.iter().all(|byte| *byte == *n as u8));
    suite.equal("more large blocks than a tree has slots", good.count(), 700);
    drop(many);
    let zeroes = vec![0_u8; 40_000];
    suite.check("memory that was used is zero when that is asked for", zeroes.iter().all(|b| *b == 0), "");
}

/// Pages that `share` can still give away: what is asked for is what a share in it gets.
fn pages_left(share: Id) -> u64 {
    let name = Name::new("probe");
    let (mut low, mut high) = (0, 1 << 32);
    while low < high {
        let middle = u64::midpoint(low, high + 1);
        match sys().share_alloc(share, Kinds::all(), middle, 0, Home::Any, address(&name)) {
            Ok(probe) => {
                low = middle;
                // Just made.
                let _ = sys().share_delobj(ObjRef { share, object: probe });
                let _ = sys().self_drop(probe);
            }
            Err(_) => high = middle - 1,
        }
    }
    low
}

/// Pages of the machine.
fn machine_pages() -> u64 {
    let mut information = core::mem::MaybeUninit::<MachineInfo>::zeroed();
    if sys().machine_info(UserPtr(information.as_mut_ptr() as u64)).is_err() {
        return 0;
    }
    // SAFETY: numbers and bytes: zeroes are valid, and the kernel wrote all of it.
    unsafe { information.assume_init() }.pages
}
