//! One core's life: kernel, user work, interrupts, sleep.

use crate::failure::Failure;
use crate::machine::PowerLost;
use crate::platform::FakePlatform;
use crate::user::User;
use corey_kernel_hal::{Boot, Outcome, Platform, Registers, Traps};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

/// Work for the program that runs on a core.
pub type Job = Box<dyn FnOnce(&mut User<'_>) + Send>;

/// Longest sleep: jobs come without interrupts too.
const NAP: Duration = Duration::from_millis(2);

/// Runs `work`; a panic is recorded, unless the machine just lost its power.
pub(crate) fn guard<R>(failure: &Failure, work: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => Some(result),
        Err(thrown) if thrown.is::<PowerLost>() => None,
        Err(thrown) => {
            let text = thrown
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| thrown.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            failure.record(&text.unwrap_or_else(|| "a core panicked".to_owned()));
            None
        }
    }
}

pub(crate) fn run<K: Boot<FakePlatform>>(kernel: &'static K, platform: FakePlatform, jobs: &Receiver<Job>) {
    guard(&platform.hardware().failure, || {
        let mut core = kernel.start(platform.clone());
        let outcome = core.idle();
        live(&mut core, &platform, outcome, jobs);
    });
}

fn live(core: &mut dyn Traps, platform: &FakePlatform, mut outcome: Outcome, jobs: &Receiver<Job>) {
    let (hardware, id) = (platform.hardware(), platform.core());
    loop {
        match outcome {
            Outcome::Enter(context) => outcome = user(core, platform, context, jobs),
            Outcome::Idle => {
                hardware.step(id);
                hardware.sleep(id, NAP);
                hardware.failure.check();
                if hardware.is_stopping() {
                    return;
                }
                if hardware.take_interrupt(id) {
                    outcome = core.idle();
                }
            }
            Outcome::Resume(_) if hardware.is_stopping() => return,
            Outcome::Resume(_) => unreachable!("an idle core has nothing to resume"),
        }
    }
}

/// User mode: work and interrupts, until the kernel leads elsewhere.
fn user(
    core: &mut dyn Traps,
    platform: &FakePlatform,
    context: corey_kernel_hal::UserContext,
    jobs: &Receiver<Job>,
) -> Outcome {
    let (hardware, id) = (platform.hardware(), platform.core());
    let mut user = User::new(core, platform.clone(), context);
    loop {
        hardware.failure.check();
        if hardware.is_stopping() {
            return Outcome::Resume([0; 2]);
        }
        hardware.step(id);
        user.interrupts();
        if let Some(outcome) = user.take_left() {
            return outcome;
        }
        match jobs.try_recv() {
            Ok(job) => job(&mut user),
            Err(TryRecvError::Empty) => hardware.sleep(id, NAP),
            Err(TryRecvError::Disconnected) => return Outcome::Resume([0; 2]),
        }
        if let Some(outcome) = user.take_left() {
            return outcome;
        }
    }
}

/// Registers of an interrupted program; nobody looks at them here.
pub(crate) fn registers() -> Registers {
    Registers::default()
}
