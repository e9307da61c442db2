//! Which operation touched which line, and which lines two operations of different cores have in common.
//!
//! An operation's footprint is what its core touches between its markers, and what the kernel does for it meanwhile on
//! cores that were idle or in user code when it began: the target of a `pcore_run`, whoever answers a message. A line
//! is shared when it is in the footprints of two operations, one of them wrote it, and the two touches came from
//! different cores.
//!
//! What a kernel core does while exactly one operation is open belongs to the core that it serves. A line that moves between these
//! two is told, too, beside what either of them shares with others: one does not hide the other.

use std::collections::HashMap;

use crate::directory::{Access, LINE_SHIFT};

/// An access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The core that began the operation, or the one that this kernel core serves.
    pub party: usize,
    /// The core that made the access.
    pub cpu: usize,
    /// Its instruction.
    pub pc: u64,
    /// The virtual address.
    pub vaddr: u64,
    /// The physical address.
    pub physical: u64,
    /// Whether it wrote.
    pub wrote: bool,
}

/// A line that two operations share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedLine {
    /// Who wrote it.
    pub writer: Touch,
    /// Who touched it too.
    pub other: Touch,
}

/// The footprints of all operations since the last report.
#[derive(Debug, Default)]
pub struct Footprints {
    /// For each line the first read and the first write of each party and core.
    lines: HashMap<u64, Vec<Touch>>,
}

impl Footprints {
    /// Notes an access.
    pub fn touch(&mut self, touch: Touch) {
        let touches = self.lines.entry(touch.physical >> LINE_SHIFT).or_default();
        let known = |t: &Touch| t.party == touch.party && t.cpu == touch.cpu && (t.wrote == touch.wrote);
        if !touches.iter().any(known) {
            touches.push(touch);
        }
    }

    /// Lines in it.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether nothing was touched.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The lines that two parties share, by address: of each the first writer and the first other.
    pub fn shared(&self) -> Vec<SharedLine> {
        let first = |touches: &Vec<Touch>| {
            touches.iter().filter(|touch| touch.wrote).find_map(|writer| {
                let other = |t: &&Touch| t.party != writer.party && t.cpu != writer.cpu;
                Some(SharedLine { writer: *writer, other: *touches.iter().find(other)? })
            })
        };
        sorted(self.lines.values().filter_map(first))
    }

    /// The lines that a core shares with the kernel core that makes its calls, by address; `serves` says whom a core serves.
    pub fn within(&self, serves: impl Fn(usize) -> Option<usize>) -> Vec<SharedLine> {
        let pair =
            |a: &Touch, b: &Touch| a.party == b.party && a.cpu == a.party && serves(b.cpu) == Some(a.party);
        let of = |touches: &'_ Vec<Touch>| {
            let mut found = Vec::<SharedLine>::new();
            for writer in touches.iter().filter(|touch| touch.wrote) {
                let other = touches.iter().find(|other| pair(writer, other) || pair(other, writer));
                let known = found.iter().any(|line| line.writer.party == writer.party);
                found.extend(
                    other.filter(|_| !known).map(|other| SharedLine { writer: *writer, other: *other }),
                );
            }
            found
        };
        sorted(self.lines.values().flat_map(of))
    }
}

fn sorted(lines: impl Iterator<Item = SharedLine>) -> Vec<SharedLine> {
    let mut found: Vec<SharedLine> = lines.collect();
    found.sort_by_key(|line| (line.writer.physical >> LINE_SHIFT, line.writer.party));
    found
}

impl Touch {
    /// An access of `cpu` for the operation that `party` began.
    pub fn new(party: usize, cpu: usize, pc: u64, vaddr: u64, physical: u64, access: Access) -> Self {
        Self { party, cpu, pc, vaddr, physical, wrote: access == Access::Write }
    }
}

#[cfg(test)]
mod tests {
    use super::Access::{Read, Write};
    use super::*;

    fn shared(touches: &[(usize, usize, u64, Access)]) -> Vec<(usize, usize)> {
        let mut prints = Footprints::default();
        for &(party, cpu, physical, access) in touches {
            prints.touch(Touch::new(party, cpu, 0x10, physical, physical, access));
        }
        prints.shared().iter().map(|l| (l.writer.party, l.other.party)).collect()
    }

    #[test]
    fn what_one_wrote_and_the_other_read_is_shared_in_either_order() {
        assert_eq!(shared(&[(1, 1, 0x40, Write), (2, 2, 0x44, Read)]), [(1, 2)]);
        assert_eq!(shared(&[(1, 1, 0x40, Read), (2, 2, 0x7f, Write)]), [(2, 1)]);
        assert_eq!(shared(&[(1, 1, 0x40, Write), (2, 2, 0x40, Write)]).len(), 1);
    }

    #[test]
    fn what_both_only_read_is_not_and_neighbouring_lines_are_not() {
        assert_eq!(shared(&[(1, 1, 0x40, Read), (2, 2, 0x40, Read)]), []);
        assert_eq!(shared(&[(1, 1, 0x40, Write), (2, 2, 0x80, Write)]), []);
    }

    #[test]
    fn a_core_that_works_for_both_does_not_share_with_itself() {
        assert_eq!(shared(&[(1, 3, 0x40, Write), (2, 3, 0x40, Write)]), []);
        assert_eq!(shared(&[(1, 3, 0x40, Write), (2, 3, 0x40, Read), (2, 2, 0x40, Read)]), [(1, 2)]);
    }

    #[test]
    fn a_line_of_sixteen_is_told_once_with_its_writer() {
        let mut touches: Vec<_> = (0..16).map(|c| (c, c, 0x40, Read)).collect();
        touches.push((5, 5, 0x48, Write));
        assert_eq!(shared(&touches), [(5, 0)]);
    }

    #[test]
    fn a_core_and_its_kernel_core_are_told_beside_what_they_share_with_others() {
        let mut prints = Footprints::default();
        // Core 1 and its kernel core 6, and kernel core 7 of core 2; core 3 works for core 1 and serves nobody.
        for (party, cpu, access) in [(1, 1, Write), (1, 6, Read), (1, 3, Read), (2, 7, Write)] {
            prints.touch(Touch::new(party, cpu, 0x10, 0x40, 0x40, access));
        }
        let serves = |cpu: usize| cpu.checked_sub(5).filter(|client| *client > 0);
        let cpus =
            |lines: Vec<SharedLine>| lines.iter().map(|l| (l.writer.cpu, l.other.cpu)).collect::<Vec<_>>();
        assert_eq!(cpus(prints.within(serves)), [(1, 6)]);
        assert_eq!(cpus(prints.shared()), [(1, 7)]);
        assert_eq!(cpus(prints.within(|_| None)), []);
    }

    #[test]
    fn the_first_access_of_each_kind_is_kept() {
        let mut prints = Footprints::default();
        for (pc, access) in [(1, Read), (2, Read), (3, Write), (4, Write)] {
            prints.touch(Touch::new(1, 1, pc, 0x40 + pc, 0x40 + pc, access));
        }
        prints.touch(Touch::new(2, 2, 9, 0x40, 0x40, Read));
        let found = prints.shared();
        assert_eq!((found[0].writer.pc, found[0].writer.physical, found[0].other.pc), (3, 0x43, 9));
        assert_eq!(prints.len(), 1);
    }
}
