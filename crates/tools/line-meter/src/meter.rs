//! From executed instructions and accesses to figures per operation.

use std::collections::HashMap;

use corey_lib_bench::marker::Kind;

use crate::decode::Instruction;
use crate::directory::{Access, Directory, LINE_SHIFT, MAX_CPUS};
use crate::footprint::{Footprints, SharedLine, Touch};

/// Half the addresses, the upper, are the kernel's.
const KERNEL_HALF: u64 = 1 << 63;
/// The local APIC's interrupt command register, low half: writing it sends.
const ICR: u64 = 0xfee0_0300;

/// One instruction of the guest's code.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// Virtual address.
    pub pc: u64,
    /// What it is.
    pub instruction: Instruction,
}

/// Where an access went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Memory at this physical address.
    Memory(u64),
    /// A device register at this physical address.
    Device(u64),
}

/// The figures of one operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Instructions at user addresses.
    pub insn_user: u64,
    /// Instructions at kernel addresses; a `rep` counts once.
    pub insn_kernel: u64,
    /// Iterations of `rep` instructions.
    pub rep: u64,
    /// Atomic instructions.
    pub locked: u64,
    /// Those that take a lock.
    pub locks: u64,
    /// Accesses to device registers.
    pub mmio: u64,
    /// Interrupts sent to other processors, or to oneself, through the local APIC.
    pub icr: u64,
    /// Writes of CR3.
    pub cr3: u64,
    /// Single translations invalidated.
    pub invlpg: u64,
    /// Coherence events, those of `rep` instructions included.
    pub events: u64,
    /// Coherence events of `rep` instructions: copying and zeroing.
    pub events_rep: u64,
}

impl Counts {
    fn plus(self, other: &Self) -> Self {
        Self {
            insn_user: self.insn_user + other.insn_user,
            insn_kernel: self.insn_kernel + other.insn_kernel,
            rep: self.rep + other.rep,
            locked: self.locked + other.locked,
            locks: self.locks + other.locks,
            mmio: self.mmio + other.mmio,
            icr: self.icr + other.icr,
            cr3: self.cr3 + other.cr3,
            invlpg: self.invlpg + other.invlpg,
            events: self.events + other.events,
            events_rep: self.events_rep + other.events_rep,
        }
    }
}

/// A place where lines move: instruction address and line number.
pub type Pair = (u64, u64);

/// Events of a pair and one virtual address it was seen at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heat {
    /// Events, all cores.
    pub events: u64,
    /// The latest virtual address.
    pub vaddr: u64,
}

/// Instructions by their address.
#[derive(Debug, Default)]
pub struct Profile {
    /// In one core's operations.
    pub own: HashMap<u64, u64>,
    /// In machine-wide operations and no core's own.
    pub machine: HashMap<u64, u64>,
}

/// Everything measured of one benchmark variant up to its report marker.
#[derive(Debug, Default)]
pub struct Figures {
    /// Operations of each core.
    pub cores: Vec<(usize, Vec<Counts>)>,
    /// Machine-wide operations.
    pub machine: Vec<Counts>,
    /// The same, of the core that began and the core that ended each: without those that only wait meanwhile.
    pub ends: Vec<Counts>,
    /// Where lines moved in one core's operations.
    pub hot: HashMap<Pair, Heat>,
    /// Where lines moved in machine-wide operations and no core's own.
    pub hot_machine: HashMap<Pair, Heat>,
    /// Where instructions went, if that was asked for.
    pub profile: Option<Profile>,
    /// What operations of different cores have in common, if that was asked for.
    pub lines: Option<Lines>,
    /// Markers that came out of order; anything but 0 makes the figures doubtful.
    pub misplaced: u64,
}

/// What operations touched.
#[derive(Debug, Default)]
pub struct Lines {
    /// By core, the id of its latest operation.
    pub ids: Vec<(usize, u32)>,
    /// The lines that two have in common and one of them wrote; then those of a core and its kernel core.
    pub shared: Vec<SharedLine>,
    /// Lines touched in all.
    pub touched: usize,
}

#[derive(Debug, Default)]
struct Cpu {
    tracked: bool,
    open: Option<Counts>,
    /// Whether the open operation ends when this core halts.
    last: bool,
    /// The id of the latest operation.
    id: u32,
    /// Whether its latest instruction was in user code or a halt.
    quiet: bool,
    /// Whether it was so at some time since the open operation of another core began: what its kernel does now, it
    /// does for that.
    helps: bool,
    /// The core whose calls this kernel core makes.
    serves: Option<usize>,
    done: Vec<Counts>,
    /// This core's part of the open machine-wide operation.
    part: Counts,
    /// The latest instruction, to tell a `rep`'s first execution from its iterations.
    latest_pc: u64,
    /// Whether this execution of a `rep` has accessed memory, so that it is an iteration.
    iterated: bool,
    /// Lines this instruction has had an event on.
    counted: Vec<u64>,
}

/// The meter of one machine.
#[derive(Debug)]
pub struct Meter {
    cpus: Vec<Cpu>,
    directory: Directory,
    directory_on: bool,
    /// The core that began the open machine-wide operation.
    machine_open: Option<usize>,
    machine_done: Vec<Counts>,
    ends_done: Vec<Counts>,
    hot: HashMap<Pair, Heat>,
    hot_machine: HashMap<Pair, Heat>,
    profile: Option<Profile>,
    footprints: Option<Footprints>,
    /// The one core that has an operation open; none, or of several none.
    only: Option<usize>,
    misplaced: u64,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            cpus: (0..MAX_CPUS).map(|_| Cpu { quiet: true, ..Cpu::default() }).collect(),
            directory: Directory::new(),
            directory_on: false,
            machine_open: None,
            machine_done: Vec::new(),
            ends_done: Vec::new(),
            hot: HashMap::new(),
            hot_machine: HashMap::new(),
            profile: None,
            footprints: None,
            only: None,
            misplaced: 0,
        }
    }
}

impl Meter {
    /// The same, noting where instructions go too.
    #[must_use]
    pub fn with_profile(self) -> Self {
        Self { profile: Some(Profile::default()), ..self }
    }

    /// The same, noting which lines operations touch.
    #[must_use]
    pub fn with_lines(self) -> Self {
        Self { footprints: Some(Footprints::default()), ..self }
    }

    /// Says whether instructions and accesses matter now.
    pub fn is_on(&self) -> bool {
        self.directory_on
    }

    /// Notes which core has the only open operation, after one of `cpu` began or ended.
    fn opened_or_closed(&mut self, cpu: usize) {
        let mut open = self.cpus.iter().enumerate().filter(|(_, state)| state.open.is_some());
        self.only = match (open.next(), open.next()) {
            (Some((only, _)), None) => Some(only),
            _ => None,
        };
        if self.only == Some(cpu) {
            self.cpus.iter_mut().for_each(|state| state.helps = state.quiet);
        }
    }

    /// Ends the open operation of `cpu`.
    fn close(&mut self, cpu: usize) {
        let state = &mut self.cpus[cpu];
        state.last = false;
        match state.open.take() {
            Some(counts) => state.done.push(counts),
            None => self.misplaced += 1,
        }
        if self.footprints.is_some() {
            self.opened_or_closed(cpu);
        }
    }

    /// Records a marker of `cpu`; a report gives the figures and starts anew.
    pub fn marker(&mut self, cpu: usize, id: u32, kind: Kind) -> Option<Figures> {
        let state = &mut self.cpus[cpu];
        state.latest_pc = 0;
        match kind {
            Kind::TrackOn => {
                state.tracked = true;
                self.directory_on = true;
            }
            Kind::TrackOff => {
                self.misplaced += u64::from(!state.tracked || state.open.is_some());
                state.tracked = false;
                state.open = None;
            }
            // A core that does not return has no time to be tracked before, or to stop being tracked after.
            Kind::Begin | Kind::BeginLast
                if state.tracked || kind == Kind::BeginLast && self.directory_on =>
            {
                self.misplaced += u64::from(state.open.is_some());
                state.open = Some(Counts::default());
                state.last = kind == Kind::BeginLast;
                state.id = id;
                if self.footprints.is_some() {
                    self.opened_or_closed(cpu);
                }
            }
            Kind::End if state.tracked => self.close(cpu),
            Kind::Begin | Kind::BeginLast | Kind::End => {}
            Kind::MachineBegin => {
                self.misplaced += u64::from(self.machine_open.is_some());
                self.machine_open = Some(cpu);
                self.cpus.iter_mut().for_each(|state| state.part = Counts::default());
            }
            Kind::MachineEnd => match self.machine_open.take() {
                Some(begun) => {
                    let all = self.cpus.iter().fold(Counts::default(), |sum, state| sum.plus(&state.part));
                    let mut ends = self.cpus[begun].part;
                    if begun != cpu {
                        ends = ends.plus(&self.cpus[cpu].part);
                    }
                    self.machine_done.push(all);
                    self.ends_done.push(ends);
                }
                None => self.misplaced += 1,
            },
            Kind::Forget => self.directory.forget(),
            Kind::Served => match self.cpus.get_mut(cpu + id as usize) {
                Some(server) if id != 0 && server.serves.is_none() => server.serves = Some(cpu),
                _ => self.misplaced += 1,
            },
            Kind::Report => return Some(self.report()),
        }
        None
    }

    fn report(&mut self) -> Figures {
        self.directory_on = false;
        self.machine_open = None;
        self.only = None;
        let mut figures = Figures {
            machine: std::mem::take(&mut self.machine_done),
            ends: std::mem::take(&mut self.ends_done),
            hot: std::mem::take(&mut self.hot),
            hot_machine: std::mem::take(&mut self.hot_machine),
            profile: self.profile.as_mut().map(std::mem::take),
            lines: self.footprints.as_mut().map(|prints| {
                let (touched, prints) = (prints.len(), std::mem::take(prints));
                let serves = |cpu: usize| self.cpus.get(cpu).and_then(|state| state.serves);
                let mut shared = prints.shared();
                shared.extend(prints.within(serves));
                let ids = self.cpus.iter().enumerate().filter(|(_, cpu)| !cpu.done.is_empty());
                Lines { ids: ids.map(|(number, cpu)| (number, cpu.id)).collect(), shared, touched }
            }),
            misplaced: std::mem::take(&mut self.misplaced),
            cores: Vec::new(),
        };
        for (number, cpu) in self.cpus.iter_mut().enumerate() {
            figures.misplaced += u64::from(cpu.tracked);
            (cpu.tracked, cpu.open, cpu.last, cpu.serves) = (false, None, false, None);
            if !cpu.done.is_empty() {
                figures.cores.push((number, std::mem::take(&mut cpu.done)));
            }
        }
        figures
    }

    /// Adds to this core's open operation and to the machine's.
    fn count(&mut self, cpu: usize, add: impl Fn(&mut Counts)) {
        let state = &mut self.cpus[cpu];
        if let Some(counts) = &mut state.open {
            add(counts);
        }
        if self.machine_open.is_some() {
            add(&mut state.part);
        }
    }

    /// Records that `cpu` begins to execute `code`, not a marker.
    pub fn execute(&mut self, cpu: usize, code: &Code) {
        let state = &mut self.cpus[cpu];
        state.counted.clear();
        state.iterated = false;
        // TCG executes a `rep` once for each iteration.
        let again = code.instruction.rep && state.latest_pc == code.pc;
        state.latest_pc = code.pc;
        state.quiet = code.pc < KERNEL_HALF || code.instruction.halt;
        state.helps |= state.quiet;
        if state.last && code.instruction.halt {
            return self.close(cpu);
        }
        if again || (state.open.is_none() && self.machine_open.is_none()) {
            return;
        }
        if let Some(Profile { own, machine }) = &mut self.profile {
            let profile = if state.open.is_some() { own } else { machine };
            *profile.entry(code.pc).or_default() += 1;
        }
        let Instruction { locked, takes_lock, cr3_write, invlpg, .. } = code.instruction;
        self.count(cpu, |counts| {
            if code.pc >= KERNEL_HALF {
                counts.insn_kernel += 1;
            } else {
                counts.insn_user += 1;
            }
            counts.locked += u64::from(locked);
            counts.locks += u64::from(takes_lock);
            counts.cr3 += u64::from(cr3_write);
            counts.invlpg += u64::from(invlpg);
        });
    }

    /// Records an access of `code`, the latest instruction of `cpu`, to one line or register.
    pub fn access(&mut self, cpu: usize, code: &Code, vaddr: u64, target: Target, access: Access) {
        let rep = code.instruction.rep;
        if rep && !std::mem::replace(&mut self.cpus[cpu].iterated, true) {
            self.count(cpu, |counts| counts.rep += 1);
        }
        let physical = match target {
            Target::Memory(physical) => physical,
            Target::Device(physical) => {
                let sends = physical == ICR && access == Access::Write;
                self.count(cpu, |counts| {
                    counts.mmio += 1;
                    counts.icr += u64::from(sends);
                });
                return;
            }
        };
        if let Some(prints) = &mut self.footprints
            && let Some(party) = match (&self.cpus[cpu], self.only) {
                (Cpu { open: Some(_), .. }, _) => Some(cpu),
                // It polls and answers messages whoever has an operation open.
                (Cpu { serves: Some(client), .. }, Some(_)) if code.pc >= KERNEL_HALF => Some(*client),
                (Cpu { helps: true, .. }, only) if code.pc >= KERNEL_HALF => only,
                _ => None,
            }
        {
            prints.touch(Touch::new(party, cpu, code.pc, vaddr, physical, access));
        }
        let line = physical >> LINE_SHIFT;
        if !self.directory.access(cpu, line, access) {
            return;
        }
        let state = &mut self.cpus[cpu];
        // A read-modify-write arrives as a read and a write; an instruction moves a line once.
        if state.counted.contains(&line) {
            return;
        }
        state.counted.push(line);
        let hot = match (state.open, self.machine_open) {
            (Some(_), _) => Some(&mut self.hot),
            (None, Some(_)) => Some(&mut self.hot_machine),
            (None, None) => None,
        };
        if let Some(hot) = hot {
            let heat = hot.entry((code.pc, line)).or_default();
            heat.events += 1;
            heat.vaddr = vaddr;
        }
        self.count(cpu, |counts| {
            counts.events += 1;
            counts.events_rep += u64::from(rep);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: Code = Code { pc: 0x1000, instruction: PLAIN };
    const KERNEL: Code = Code { pc: 0xffff_8000_0000_1000, instruction: PLAIN };
    const PLAIN: Instruction = Instruction {
        marker: None,
        rep: false,
        locked: false,
        cr3_write: false,
        invlpg: false,
        takes_lock: false,
        halt: false,
    };
    const HALT: Code = Code { pc: 0xffff_8000_0000_3000, instruction: Instruction { halt: true, ..PLAIN } };
    const REP: Code = Code { pc: 0xffff_8000_0000_2000, instruction: Instruction { rep: true, ..PLAIN } };

    fn begin(meter: &mut Meter, cpu: usize) {
        meter.marker(cpu, 0, Kind::TrackOn);
        meter.marker(cpu, 0, Kind::Begin);
    }

    fn finish(meter: &mut Meter, cpu: usize) -> Figures {
        meter.marker(cpu, 0, Kind::End);
        meter.marker(cpu, 0, Kind::TrackOff);
        meter.marker(cpu, 0, Kind::Report).expect("report gives figures")
    }

    fn access(meter: &mut Meter, cpu: usize, code: &Code, physical: u64, kind: Access) {
        meter.access(cpu, code, physical, Target::Memory(physical), kind);
    }

    #[test]
    fn only_what_lies_between_begin_and_end_counts() {
        let mut meter = Meter::default();
        meter.execute(0, &USER);
        meter.marker(0, 0, Kind::TrackOn);
        meter.execute(0, &USER);
        meter.marker(0, 0, Kind::Begin);
        meter.execute(0, &USER);
        meter.execute(0, &KERNEL);
        meter.execute(1, &KERNEL);
        meter.marker(0, 0, Kind::End);
        meter.execute(0, &USER);
        meter.marker(0, 0, Kind::TrackOff);
        let figures = meter.marker(0, 0, Kind::Report).unwrap();
        let counts = Counts { insn_user: 1, insn_kernel: 1, ..Counts::default() };
        assert_eq!(figures.cores, [(0, vec![counts])]);
        assert_eq!(figures.misplaced, 0);
    }

    #[test]
    fn the_directory_follows_cores_that_are_not_in_an_operation() {
        let mut meter = Meter::default();
        begin(&mut meter, 0);
        meter.execute(1, &KERNEL);
        access(&mut meter, 1, &KERNEL, 0x40, Access::Write);
        meter.execute(0, &USER);
        access(&mut meter, 0, &USER, 0x44, Access::Read);
        let figures = finish(&mut meter, 0);
        assert_eq!(figures.cores[0].1[0].events, 1);
        assert_eq!(figures.hot[&(USER.pc, 1)].events, 1);
    }

    #[test]
    fn a_read_modify_write_is_one_event() {
        let mut meter = Meter::default();
        begin(&mut meter, 0);
        access(&mut meter, 1, &KERNEL, 0x40, Access::Write);
        access(&mut meter, 2, &KERNEL, 0x40, Access::Read);
        meter.execute(0, &KERNEL);
        access(&mut meter, 0, &KERNEL, 0x40, Access::Read);
        access(&mut meter, 0, &KERNEL, 0x40, Access::Write);
        assert_eq!(finish(&mut meter, 0).cores[0].1[0].events, 1);
    }

    #[test]
    fn a_rep_is_one_instruction_and_its_iterations_are_told_apart() {
        let mut meter = Meter::default();
        begin(&mut meter, 0);
        access(&mut meter, 1, &KERNEL, 0x80, Access::Write);
        for word in 0..16 {
            meter.execute(0, &REP);
            access(&mut meter, 0, &REP, 0x40 + word * 8, Access::Write);
        }
        meter.execute(0, &REP); // finds the counter at zero
        meter.execute(0, &KERNEL);
        let counts = finish(&mut meter, 0).cores[0].1[0];
        assert_eq!((counts.insn_kernel, counts.rep), (2, 16));
        assert_eq!((counts.events, counts.events_rep), (1, 1));
    }

    #[test]
    fn device_registers_and_sent_interrupts_are_counted() {
        let mut meter = Meter::default();
        begin(&mut meter, 0);
        meter.access(0, &KERNEL, 0, Target::Device(0xfee0_0300), Access::Write);
        meter.access(0, &KERNEL, 0, Target::Device(0xfee0_0300), Access::Read);
        meter.access(0, &KERNEL, 0, Target::Device(0xfee0_0310), Access::Write);
        let counts = finish(&mut meter, 0).cores[0].1[0];
        assert_eq!((counts.mmio, counts.icr, counts.events), (3, 1, 0));
    }

    #[test]
    fn machine_wide_operations_count_every_core() {
        let mut meter = Meter::default();
        meter.marker(0, 0, Kind::TrackOn);
        meter.marker(0, 0, Kind::MachineBegin);
        meter.execute(0, &USER);
        meter.execute(70, &KERNEL);
        access(&mut meter, 0, &USER, 0x40, Access::Write);
        access(&mut meter, 70, &KERNEL, 0x40, Access::Write);
        meter.marker(70, 0, Kind::MachineEnd);
        meter.marker(0, 0, Kind::TrackOff);
        let figures = meter.marker(0, 0, Kind::Report).unwrap();
        let counts = figures.machine[0];
        assert_eq!((counts.insn_user, counts.insn_kernel, counts.events), (1, 1, 1));
        assert!(figures.hot.is_empty());
        assert_eq!(figures.hot_machine[&(KERNEL.pc, 1)].events, 1);
    }

    #[test]
    fn the_ends_leave_out_cores_that_only_wait() {
        let mut meter = Meter::default();
        meter.marker(0, 0, Kind::TrackOn);
        for _ in 0..2 {
            meter.marker(0, 0, Kind::MachineBegin);
            meter.execute(0, &USER);
            meter.execute(1, &KERNEL);
            (0..9).for_each(|_| meter.execute(2, &USER));
            meter.marker(1, 0, Kind::MachineEnd);
        }
        meter.marker(0, 0, Kind::TrackOff);
        let figures = meter.marker(0, 0, Kind::Report).unwrap();
        let counts = |user| Counts { insn_user: user, insn_kernel: 1, ..Counts::default() };
        assert_eq!(figures.machine, [counts(10), counts(10)]);
        assert_eq!(figures.ends, [counts(1), counts(1)]);
    }

    #[test]
    fn a_profile_says_where_counted_instructions_are() {
        let mut meter = Meter::default().with_profile();
        meter.execute(0, &USER);
        begin(&mut meter, 0);
        meter.execute(0, &USER);
        (0..3).for_each(|_| meter.execute(0, &REP));
        meter.execute(0, &USER);
        meter.execute(1, &KERNEL);
        let profile = finish(&mut meter, 0).profile.unwrap();
        assert_eq!(profile.own, [(USER.pc, 2), (REP.pc, 1)].into());
        assert!(profile.machine.is_empty());
    }

    #[test]
    fn markers_out_of_order_are_reported() {
        let mut meter = Meter::default();
        begin(&mut meter, 0);
        meter.marker(0, 0, Kind::Begin);
        meter.marker(0, 0, Kind::MachineEnd);
        assert_eq!(finish(&mut meter, 0).misplaced, 2);
    }

    /// Two cores in turn: `first` and `second` are what their operations 7 and 8 touch.
    fn pair(first: impl Fn(&mut Meter), second: impl Fn(&mut Meter)) -> Lines {
        let mut meter = Meter::default().with_lines();
        (1..3).for_each(|cpu| assert!(meter.marker(cpu, 0, Kind::TrackOn).is_none()));
        for _ in 0..2 {
            meter.marker(1, 7, Kind::Begin);
            first(&mut meter);
            meter.marker(1, 7, Kind::End);
            meter.marker(2, 8, Kind::Begin);
            second(&mut meter);
            meter.marker(2, 8, Kind::End);
        }
        (1..3).for_each(|cpu| assert!(meter.marker(cpu, 0, Kind::TrackOff).is_none()));
        let figures = meter.marker(0, 0, Kind::Report).unwrap();
        assert_eq!(figures.misplaced, 0);
        figures.lines.unwrap()
    }

    fn act(meter: &mut Meter, cpu: usize, code: &Code, physical: u64, kind: Access) {
        meter.execute(cpu, code);
        access(meter, cpu, code, physical, kind);
    }

    #[test]
    fn a_counter_that_both_cores_write_is_found_with_its_instruction() {
        let lines = pair(
            |meter| act(meter, 1, &KERNEL, 0x1008, Access::Write),
            |meter| act(meter, 2, &KERNEL, 0x1010, Access::Write),
        );
        assert_eq!(lines.ids, [(1, 7), (2, 8)]);
        assert_eq!(lines.shared.len(), 1);
        let SharedLine { writer, other } = lines.shared[0];
        assert_eq!((writer.party, writer.pc, writer.physical), (1, KERNEL.pc, 0x1008));
        assert_eq!((other.party, other.physical, other.wrote), (2, 0x1010, true));
    }

    #[test]
    fn what_lies_between_operations_is_in_no_footprint() {
        let lines = pair(
            |meter| {
                act(meter, 1, &KERNEL, 0x1000, Access::Write);
                // The other core spins meanwhile, in user code.
                act(meter, 2, &USER, 0x2000, Access::Read);
            },
            |meter| act(meter, 2, &USER, 0x3000, Access::Write),
        );
        assert!(lines.shared.is_empty());
        assert_eq!(lines.touched, 2);
    }

    #[test]
    fn the_kernel_of_an_idle_core_works_for_the_operation_that_is_open() {
        let wakes = |meter: &mut Meter, cpu| {
            meter.execute(cpu, &HALT);
            act(meter, cpu, &KERNEL, 0x4000, Access::Write);
        };
        let lines = pair(|meter| wakes(meter, 3), |meter| wakes(meter, 4));
        assert_eq!(lines.shared.len(), 1);
        assert_eq!((lines.shared[0].writer.party, lines.shared[0].writer.cpu), (1, 3));
    }

    #[test]
    fn a_kernel_that_is_still_busy_from_before_does_not() {
        let mut meter = Meter::default().with_lines();
        (1..3).for_each(|cpu| assert!(meter.marker(cpu, 0, Kind::TrackOn).is_none()));
        meter.execute(3, &KERNEL);
        meter.marker(1, 7, Kind::Begin);
        act(&mut meter, 3, &KERNEL, 0x4000, Access::Write);
        meter.marker(1, 7, Kind::End);
        meter.marker(2, 8, Kind::Begin);
        act(&mut meter, 2, &KERNEL, 0x4000, Access::Write);
        meter.marker(2, 8, Kind::End);
        (1..3).for_each(|cpu| assert!(meter.marker(cpu, 0, Kind::TrackOff).is_none()));
        assert!(meter.marker(0, 0, Kind::Report).unwrap().lines.unwrap().shared.is_empty());
    }

    #[test]
    fn a_kernel_core_works_for_the_core_that_it_serves_while_any_operation_is_open() {
        let mut meter = Meter::default().with_lines();
        for cpu in 1..3 {
            assert!(meter.marker(cpu, 0, Kind::TrackOn).is_none());
            assert!(meter.marker(cpu, 5, Kind::Served).is_none());
        }
        act(&mut meter, 6, &KERNEL, 0x5000, Access::Write);
        for cpu in 1..3 {
            meter.marker(cpu, 7, Kind::Begin);
            // It polls, and so never was in user code; the line at 0x6000 is one of both.
            act(&mut meter, cpu + 5, &KERNEL, 0x6000, Access::Write);
            act(&mut meter, cpu, &USER, 0x7000 + 0x40 * cpu as u64, Access::Write);
            act(&mut meter, 6, &KERNEL, 0x7040, Access::Read);
            meter.marker(cpu, 7, Kind::End);
            act(&mut meter, 7, &KERNEL, 0x5000, Access::Write);
        }
        (1..3).for_each(|cpu| assert!(meter.marker(cpu, 0, Kind::TrackOff).is_none()));
        let figures = meter.marker(0, 0, Kind::Report).unwrap();
        let ends = |line: &SharedLine| {
            ((line.writer.party, line.writer.cpu), (line.other.party, line.other.cpu), line.writer.physical)
        };
        let shared: Vec<_> = figures.lines.unwrap().shared.iter().map(ends).collect();
        assert_eq!(shared, [((1, 6), (2, 7), 0x6000), ((1, 1), (1, 6), 0x7040)]);
        assert_eq!(figures.misplaced, 0);
        meter.marker(1, 0, Kind::Served);
        assert_eq!(meter.marker(0, 0, Kind::Report).unwrap().misplaced, 1, "nobody serves itself");
    }

    #[test]
    fn an_operation_without_return_ends_when_its_core_halts() {
        let mut meter = Meter::default().with_lines();
        meter.marker(2, 0, Kind::TrackOn);
        meter.marker(1, 7, Kind::BeginLast);
        meter.execute(1, &KERNEL);
        meter.execute(1, &HALT);
        meter.execute(1, &KERNEL);
        meter.marker(2, 0, Kind::TrackOff);
        let figures = meter.marker(0, 0, Kind::Report).unwrap();
        assert_eq!(figures.cores, [(1, vec![Counts { insn_kernel: 1, ..Counts::default() }])]);
        assert_eq!(figures.misplaced, 0);
    }
}
