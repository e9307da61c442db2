//! The controller's registers.

use corey_kernel_hal::Mmio;

/// Which register the window shows, and the window.
const SELECT: u32 = 0x00;
const WINDOW: u32 = 0x10;
/// Version, and the number of the last input in bits 23:16 (§3.2.2).
const VERSION: u32 = 0x01;
/// The first input's two words (§3.2.4).
const TABLE: u32 = 0x10;

const LOW_ACTIVE: u32 = 1 << 13;
/// A core has the interrupt, and has not ended it.
const REMOTE: u32 = 1 << 14;
const LEVEL: u32 = 1 << 15;
const MASKED: u32 = 1 << 16;

/// Which level of a line says that somebody pulls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polarity {
    /// The higher one.
    High,
    /// The lower one, as on a PCI bus.
    Low,
}

/// Where an input's interrupts go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The vector.
    pub vector: u8,
    /// The local APIC's ID.
    pub target: u8,
    /// When the line is pulled.
    pub polarity: Polarity,
}

/// One controller.
#[derive(Debug)]
pub struct IoApic<M> {
    registers: M,
    inputs: u8,
}

impl<M: Mmio> IoApic<M> {
    /// The controller at `registers`, all inputs masked. `None` when it does not answer.
    pub fn new(registers: M) -> Option<Self> {
        let mut found = Self { registers, inputs: 0 };
        let version = found.read(VERSION);
        if version == u32::MAX || version == 0 {
            return None;
        }
        // 240 by the width of the register; the window of a bad one would wrap around.
        found.inputs = (version >> 16 & 0xff).min(239) as u8 + 1;
        for input in 0..found.inputs {
            found.write(low(input), MASKED | LEVEL);
        }
        Some(found)
    }

    /// How many inputs it has.
    #[must_use]
    pub fn inputs(&self) -> u8 {
        self.inputs
    }

    /// From now on the input interrupts as `route` says while its line is pulled. One that it has not got does nothing.
    ///
    /// # Cost
    ///
    /// Six register writes: masked, target, open.
    pub fn open(&self, input: u8, route: Route) {
        if input >= self.inputs {
            return;
        }
        let polarity = if route.polarity == Polarity::Low { LOW_ACTIVE } else { 0 };
        let word = u32::from(route.vector) | LEVEL | polarity;
        // Not open with half of a route.
        self.write(low(input), word | MASKED);
        self.write(low(input) + 1, u32::from(route.target) << 24);
        self.write(low(input), word);
    }

    /// From now on the input interrupts nobody; an interrupt that was sent is on its way.
    ///
    /// # Cost
    ///
    /// Three register writes and a read.
    pub fn close(&self, input: u8) {
        if input < self.inputs {
            let word = self.read(low(input));
            self.write(low(input), word | MASKED);
        }
    }

    /// Whether a core has the input's interrupt and has not ended it.
    ///
    /// # Cost
    ///
    /// A register write and a read.
    #[must_use]
    pub fn is_under_way(&self, input: u8) -> bool {
        input < self.inputs && self.read(low(input)) & REMOTE != 0
    }

    fn read(&self, register: u32) -> u32 {
        self.registers.write(SELECT, register);
        self.registers.read(WINDOW)
    }

    fn write(&self, register: u32, value: u32) {
        self.registers.write(SELECT, register);
        self.registers.write(WINDOW, value);
    }
}

fn low(input: u8) -> u32 {
    TABLE + 2 * u32::from(input)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a model that fails its test")]
pub(crate) mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// A controller of 24 inputs, and who pulls them; delivered vectors are not ended until a test says so.
    #[derive(Clone)]
    pub(crate) struct Model(Rc<RefCell<State>>);

    impl Default for Model {
        fn default() -> Self {
            let state = State { select: 0, table: [0; 48], pulled: 0, delivered: Vec::new() };
            Self(Rc::new(RefCell::new(state)))
        }
    }

    struct State {
        select: u32,
        table: [u32; 48],
        pulled: u32,
        delivered: Vec<(u8, u8)>,
    }

    impl State {
        fn service(&mut self) {
            for input in 0..24 {
                let [word, target] = [self.table[2 * input], self.table[2 * input + 1]];
                let wants = self.pulled >> input & 1 == 1 && word & MASKED == 0 && word & REMOTE == 0;
                if wants {
                    assert_ne!(word & LEVEL, 0, "an edge would be lost");
                    self.table[2 * input] |= REMOTE;
                    self.delivered.push((word as u8, (target >> 24) as u8));
                }
            }
        }
    }

    impl Model {
        pub(crate) fn pull(&self, inputs: u32, on: bool) {
            let mut state = self.0.borrow_mut();
            state.pulled = if on { state.pulled | inputs } else { state.pulled & !inputs };
            state.service();
        }
        pub(crate) fn delivered(&self) -> Vec<(u8, u8)> {
            std::mem::take(&mut self.0.borrow_mut().delivered)
        }
        pub(crate) fn end(&self, vector: u8) {
            let mut state = self.0.borrow_mut();
            for input in 0..24 {
                if state.table[2 * input] as u8 == vector {
                    state.table[2 * input] &= !REMOTE;
                }
            }
            state.service();
        }
        pub(crate) fn all_masked(&self) -> bool {
            self.0.borrow().table.chunks(2).all(|words| words[0] & MASKED != 0)
        }
    }

    impl Mmio for Model {
        fn read(&self, offset: u32) -> u32 {
            let state = self.0.borrow();
            assert_eq!(offset, WINDOW);
            match state.select {
                VERSION => 0x0017_0020,
                at => state.table[(at - TABLE) as usize],
            }
        }
        fn write(&self, offset: u32, value: u32) {
            let mut state = self.0.borrow_mut();
            if offset == SELECT {
                state.select = value;
                return;
            }
            let at = (state.select - TABLE) as usize;
            let kept = if at.is_multiple_of(2) { state.table[at] & REMOTE } else { 0 };
            state.table[at] = value & !REMOTE | kept;
            state.service();
        }
    }

    struct Nothing;
    impl Mmio for Nothing {
        fn read(&self, _: u32) -> u32 {
            u32::MAX
        }
        fn write(&self, _: u32, _: u32) {}
    }

    const ROUTE: Route = Route { vector: 0xe0, target: 3, polarity: Polarity::Low };

    #[test]
    fn all_inputs_are_masked_at_first() {
        let model = Model::default();
        let apic = IoApic::new(model.clone()).expect("it answers");
        assert_eq!(apic.inputs(), 24);
        assert!(model.all_masked());
        model.pull(u32::MAX >> 8, true);
        assert_eq!(model.delivered(), []);
        assert!(IoApic::new(Nothing).is_none());
    }

    #[test]
    fn a_line_that_is_pulled_interrupts_once_until_that_is_ended() {
        let model = Model::default();
        let apic = IoApic::new(model.clone()).expect("it answers");
        model.pull(1 << 19, true);
        apic.open(19, ROUTE);
        assert_eq!(model.delivered(), [(0xe0, 3)], "pulled before it was open");
        assert!(apic.is_under_way(19) && !apic.is_under_way(18));
        apic.close(19);
        assert!(apic.is_under_way(19), "masked, it is still to be ended");
        model.end(0xe0);
        assert!(!apic.is_under_way(19));
        assert_eq!(model.delivered(), [], "masked");
        apic.open(19, Route { target: 1, ..ROUTE });
        assert_eq!(model.delivered(), [(0xe0, 1)], "still pulled");
    }

    #[test]
    fn inputs_that_there_are_not_do_nothing() {
        let model = Model::default();
        let apic = IoApic::new(model.clone()).expect("it answers");
        apic.open(24, ROUTE);
        apic.close(255);
        assert!(!apic.is_under_way(24) && model.all_masked());
    }
}
