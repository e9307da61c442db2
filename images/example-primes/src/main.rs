//! `example-primes`: every core finds primes in a vector of its own, and the first one reads them all.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name")]

extern crate alloc;

use alloc::vec::Vec;
use corey_libos_cores::{Failure, Here};
use corey_libos_rt::{Process, Status, entry, println};

entry!(main);

fn main(process: Process) -> Status {
    match primes(&mut Here::first(process), 20_000) {
        Ok(primes) => {
            println!("{} primes, the last one {:?}", primes.len(), primes.last());
            Status::Success
        }
        Err(failure) => {
            println!("no primes: {failure}");
            Status::Failed
        }
    }
}

fn primes(here: &mut Here, below: u64) -> Result<Vec<u64>, Failure> {
    here.scope(|scope| {
        let cores: Vec<u16> = scope.free().collect();
        let step = below / (cores.len() as u64 + 1) + 1;
        let threads: Vec<_> = (1..)
            .zip(cores)
            .map(|(part, core)| scope.spawn(core, move |_| search(part * step, below.min((part + 1) * step))))
            .collect::<Result<_, _>>()?;
        let mut all = search(2, step);
        for thread in threads {
            all.extend(thread.join()?);
        }
        Ok(all)
    })
}

fn search(from: u64, to: u64) -> Vec<u64> {
    let is_prime = |n: &u64| (2..).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d));
    (from..to).filter(is_prime).collect()
}
