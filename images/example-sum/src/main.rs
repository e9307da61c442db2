//! `example-sum`: a sum on every core that is free.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name")]

use corey_libos_cores::{Failure, Here};
use corey_libos_rt::{Process, Status, entry, println};
use heapless::Vec;

entry!(main);

fn main(process: Process) -> Status {
    let numbers: [u64; 10_000] = core::array::from_fn(|i| i as u64);
    match sum(&mut Here::first(process), &numbers) {
        Ok(sum) => {
            println!("the sum is {sum}");
            Status::Success
        }
        Err(failure) => {
            println!("no sum: {failure}");
            Status::Failed
        }
    }
}

fn sum(here: &mut Here, numbers: &[u64]) -> Result<u64, Failure> {
    here.scope(|scope| {
        let cores: Vec<u16, 64> = scope.free().take(64).collect();
        let (own, others) = numbers.split_at(numbers.len() / (cores.len() + 1));
        let parts = others.chunks(others.len().div_ceil(cores.len().max(1)).max(1));
        let work = |part: &[u64]| part.iter().sum::<u64>();
        let threads: Result<Vec<_, 64>, _> =
            cores.iter().zip(parts).map(|(core, part)| scope.spawn(*core, move |_| work(part))).collect();
        let own = work(own);
        threads?.into_iter().try_fold(own, |sum, thread| Ok(sum + thread.join()?))
    })
}
