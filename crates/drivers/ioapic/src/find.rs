//! Which input a device's line is on, by having it pull the line.
//!
//! ```text
//! device   lets go ───────────── pulls ─────────── lets go
//! inputs   open ─ wait ─ quiet? ── wait ─ pulled? ─ all closed ─ interrupts ended
//! ```

use crate::registers::{IoApic, Polarity, Route};
use corey_kernel_hal::Mmio;

/// Most inputs that are tried.
pub const MOST_CANDIDATES: usize = 64;
/// Microseconds until an interrupt that is due has come: cards hold one back after the last (QEMU's e1000 for 128).
const WAIT: u32 = 500;

/// An input that a device's line may be on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which controller.
    pub controller: usize,
    /// Which of its inputs.
    pub input: u8,
    /// When its line is pulled.
    pub polarity: Polarity,
}

/// What a measurement needs of the machine and of the device.
pub trait Prober {
    /// Has the device pull its line.
    fn pull(&mut self);
    /// Has it let go.
    fn let_go(&mut self);
    /// Returns after so many microseconds, 1000 at most. An interrupt with the probe's vector is taken and not ended.
    fn wait(&mut self, microseconds: u32);
    /// Ends the interrupts with the probe's vector.
    fn end(&mut self);
}

/// The first of `candidates` whose line the device pulls, and lets go of, twice; the others' state does not matter. `vector` and
/// `target` are where probes go. All candidates are masked afterwards.
pub fn find<M: Mmio>(
    controllers: &[IoApic<M>],
    candidates: &[Candidate],
    (vector, target): (u8, u8),
    prober: &mut impl Prober,
) -> Option<Candidate> {
    let mut left: heapless::Vec<Candidate, MOST_CANDIDATES> =
        candidates.iter().copied().take(MOST_CANDIDATES).collect();
    for _ in 0..2 {
        let pulled = |of: &Candidate| {
            controllers.get(of.controller).is_some_and(|controller| controller.is_under_way(of.input))
        };
        prober.let_go();
        for Candidate { controller, input, polarity } in &left {
            if let Some(controller) = controllers.get(*controller) {
                controller.open(*input, Route { vector, target, polarity: *polarity });
            }
        }
        prober.wait(WAIT);
        // Pulled by somebody else, or not as its polarity is thought to be.
        let quiet: heapless::Vec<Candidate, MOST_CANDIDATES> =
            left.iter().copied().filter(|of| !pulled(of)).collect();
        prober.pull();
        prober.wait(WAIT);
        let hit = quiet.iter().copied().filter(pulled).collect();
        for Candidate { controller, input, .. } in &left {
            if let Some(controller) = controllers.get(*controller) {
                controller.close(*input);
            }
        }
        prober.let_go();
        prober.end();
        left = hit;
    }
    left.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registers::tests::Model;

    /// A device on some inputs of a model; another pulls as it likes.
    struct Device {
        model: Model,
        inputs: u32,
        /// Pulled by others.
        always: u32,
        /// Pulled from the first probe on.
        once: u32,
    }

    impl Prober for Device {
        fn pull(&mut self) {
            self.model.pull(self.inputs | std::mem::take(&mut self.once), true);
        }
        fn let_go(&mut self) {
            self.model.pull(self.inputs & !self.always, false);
        }
        fn wait(&mut self, microseconds: u32) {
            assert!(microseconds <= 1000);
        }
        fn end(&mut self) {
            self.model.end(0xe0);
        }
    }

    fn candidates() -> Vec<Candidate> {
        (16..24)
            .map(|input| Candidate { controller: 0, input, polarity: Polarity::Low })
            .chain([10, 11].map(|input| Candidate { controller: 0, input, polarity: Polarity::High }))
            .collect()
    }

    /// On these inputs, while these are pulled always, and those once.
    fn found(inputs: u32, always: u32, once: u32) -> Option<u8> {
        let model = Model::default();
        let controllers = [IoApic::new(model.clone()).expect("it answers")];
        model.pull(always, true);
        let mut device = Device { model: model.clone(), inputs, always, once };
        let found = find(&controllers, &candidates(), (0xe0, 0), &mut device);
        assert!(model.all_masked(), "masked again");
        found.map(|of| of.input)
    }

    #[test]
    fn the_input_that_follows_the_device_is_found() {
        assert_eq!(found(1 << 19, 0, 0), Some(19));
        assert_eq!(found(1 << 11, 0, 0), Some(11));
        assert_eq!(found(1 << 11 | 1 << 18, 0, 0), Some(18), "the earlier candidate");
        assert_eq!(found(1 << 19, 1 << 17, 1 << 16), Some(19), "others pull theirs");
    }

    #[test]
    fn a_device_that_nobody_hears_has_none() {
        assert_eq!(found(0, 0, 0), None);
        assert_eq!(found(1 << 5, 0, 0), None, "no candidate");
        assert_eq!(found(1 << 19, 1 << 19, 0), None, "always pulled: nobody knows by whom");
        assert_eq!(found(0, 0, 1 << 20), None, "by chance");
    }
}
