//! Booting a kernel on a [`FakeMachine`].

use crate::core_loop::{self, Job};
use crate::machine::FakeMachine;
use crate::platform::FakePlatform;
use crate::time::{JoinHandle, spawn};
use crate::user::User;
use corey_kernel_hal::{Boot, BootAlloc, BootInfo, CoreId, NetworkCard, Range, Topology};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Gives memory away for good; in a model, until the next execution.
fn keep<T: 'static>(all: Vec<T>) -> &'static mut [T] {
    #[cfg(not(any(loom, shuttle)))]
    return all.leak();
    #[cfg(any(loom, shuttle))]
    corey_lib_sync::explore::keep(all)
}

/// Boot memory: from the host, for good; all RAM of the machine is left to the kernel.
#[derive(Debug)]
pub struct HostAlloc {
    free: Vec<Range>,
}

impl BootAlloc for HostAlloc {
    fn slice<T: 'static>(&mut self, n: usize, make: impl FnMut(usize) -> T) -> &'static mut [T] {
        keep((0..n).map(make).collect::<Vec<_>>())
    }

    fn ram_end(&self) -> u64 {
        self.free.last().map_or(0, |r| r.end)
    }

    fn rest(&mut self) -> &'static [Range] {
        keep(std::mem::take(&mut self.free))
    }
}

/// A machine whose cores run a kernel, each on a thread of its own.
pub struct Booted {
    machine: &'static FakeMachine,
    jobs: Vec<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl FakeMachine {
    /// Memory to boot from, and how cores and memory lie: for parts of a kernel, without the rest.
    #[must_use]
    pub fn alloc(&self) -> HostAlloc {
        HostAlloc { free: self.free().to_vec() }
    }

    /// How cores and memory lie.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Boots `K` with `archive` and `command_line`. Core 0 starts first; the others follow.
    #[must_use]
    pub fn boot<K: Boot<FakePlatform>>(self, archive: Option<Vec<u8>>, command_line: &str) -> Booted {
        self.boot_with::<K>(archive, command_line, |_| Vec::new())
    }

    /// As [`FakeMachine::boot`], with the network cards that `plug` puts in.
    #[must_use]
    pub fn boot_with<K: Boot<FakePlatform>>(
        self,
        archive: Option<Vec<u8>>,
        command_line: &str,
        plug: impl FnOnce(&'static Self) -> Vec<&'static mut dyn NetworkCard>,
    ) -> Booted {
        let [machine] = keep(vec![self]) else { unreachable!("one was given") };
        let machine: &'static Self = machine;
        let mut alloc = machine.alloc();
        let info = BootInfo {
            command_line: std::str::from_utf8(keep(command_line.as_bytes().to_vec())).expect("it was text"),
            topology: machine.topology,
            archive: archive.map(|bytes| &*keep(bytes)),
            tsc_hz: crate::TSC_HZ,
            hypervisor: true,
            cpu: "fake",
        };
        let cards = keep(plug(machine));
        let kernel: &'static K =
            keep(vec![K::prepare(info, machine, cards, machine.platform(0), &mut alloc)])
                .first()
                .expect("one was given");
        let (mut jobs, mut threads) = (Vec::new(), Vec::new());
        for core in 0..machine.cores() {
            let (sender, receiver) = channel();
            let platform = machine.platform(core as u16);
            jobs.push(sender);
            threads.push(spawn(move || core_loop::run(kernel, platform, &receiver)));
        }
        Booted { machine, jobs, threads }
    }
}

impl Booted {
    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &'static FakeMachine {
        self.machine
    }

    /// Lets the program on `core` do `work`; the result comes when it is done. Work waits until a program
    /// runs there.
    pub fn start<R: Send + 'static>(
        &self,
        core: u16,
        work: impl FnOnce(&mut User<'_>) -> R + Send + 'static,
    ) -> Receiver<R> {
        let (sender, receiver) = channel();
        let job: Job = Box::new(move |user| {
            // Nobody waits any more: the test failed already.
            let _ = sender.send(work(user));
        });
        if let Some(jobs) = self.jobs.get(usize::from(core)) {
            // A core whose thread ended has recorded why.
            let _ = jobs.send(job);
            self.machine.hardware.interrupt(CoreId(core));
        }
        receiver
    }

    /// [`Booted::start`], and waits.
    ///
    /// # Panics
    ///
    /// With the first failure of any core.
    pub fn on<R: Send + 'static>(
        &self,
        core: u16,
        work: impl FnOnce(&mut User<'_>) -> R + Send + 'static,
    ) -> R {
        self.wait(&self.start(core, work))
    }

    /// Waits for work that was started.
    ///
    /// # Panics
    ///
    /// With the first failure of any core.
    pub fn wait<R>(&self, work: &Receiver<R>) -> R {
        loop {
            match crate::time::receive(work, std::time::Duration::from_millis(50)) {
                Ok(result) => return result,
                Err(error) => {
                    self.machine.check();
                    assert!(
                        error == std::sync::mpsc::RecvTimeoutError::Timeout,
                        "the core ended: {}",
                        self.machine.console()
                    );
                }
            }
        }
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        self.machine.hardware.stop();
        for thread in self.threads.drain(..) {
            // A panic there was recorded, and is reported below.
            let _ = thread.join();
        }
        self.machine.hardware.ram.power_off();
        if !std::thread::panicking() {
            self.machine.check();
        }
    }
}
