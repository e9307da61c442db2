//! What each call may do at most on private objects: the `# Cost` of its row as numbers.
//!
//! `cargo xtask sharing` asserts them, for every case of a call, alone and beside every other call; `docs/syscalls.md` shows them.

use core::fmt;

/// The most one call may do when nobody else can reach what it works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The call.
    pub call: &'static str,
    /// Locks it takes.
    pub locks: u64,
    /// Atomic operations, its locks and the kernel entry included.
    pub locked: u64,
    /// Cache lines that move between cores.
    pub events: u64,
    /// Interrupts it sends.
    pub interrupts: u64,
}

/// No limit.
pub const ANY: u64 = u64::MAX;

const fn cost(call: &'static str, locks: u64, locked: u64, events: u64, interrupts: u64) -> Cost {
    Cost { call, locks, locked, events, interrupts }
}

/// A line for each call, in the order of the table.
pub const COSTS: &[Cost] = &[
    cost("obj_get_name", 0, 1, 0, 0),
    cost("share_alloc", 4, 8, 0, 0),
    cost("share_addobj", 2, 4, 0, 0),
    // One of the locks is a network card's, if a buffer of the segment was posted to one.
    cost("share_delobj", 4, 8, 0, 0),
    cost("self_drop", 4, 8, 0, 0),
    cost("segment_alloc", 2, 3, 0, 0),
    cost("segment_copy", 7, 14, 0, 0),
    cost("segment_get_nbytes", 0, 1, 0, 0),
    cost("segment_set_nbytes", 6, 11, 0, 0),
    cost("at_alloc", 2, 4, 0, 0),
    cost("at_get", 0, 1, 0, 0),
    cost("at_set", 2, 9, 0, 0),
    cost("at_set_slot", 3, 4, 0, 0),
    cost("pcore_alloc", 4, 7, 0, 0),
    cost("pcore_current", 0, 1, 0, 0),
    cost("pcore_run", 0, 9, 6, 1),
    cost("pcore_add_device", 1, 2, 0, 0),
    cost("pcore_set_interval", 0, 1, 0, 0),
    cost("pcore_halt", 0, 8, 10, 1),
    cost("device_list", 0, 1, 0, 0),
    cost("device_alloc", 4, 6, 0, 0),
    cost("device_stat", 1, 2, 0, 0),
    cost("device_conf", 0, 1, 0, 0),
    // A screen of text has 63 lines.
    cost("device_buf", 3, 4, 70, 0),
    cost("locality_get", 0, 1, 0, 0),
    cost("share_list", 0, 1, 0, 0),
    cost("core_wait", 3, 6, 0, 0),
    cost("core_wake", 1, 3, 0, 0),
    cost("machine_info", 0, 1, 0, 0),
    cost("machine_control", 0, 1, 1, 0),
    cost("audit", ANY, ANY, ANY, ANY),
    cost("core_stat", 0, 1, 0, 0),
    cost("core_fence", 0, 2, 0, 0),
    cost("counter_read", 0, 1, 0, 0),
];

/// What `call` may do.
#[must_use]
pub fn cost_of(call: &str) -> Option<&'static Cost> {
    COSTS.iter().find(|cost| cost.call == call)
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.locks, "lock"),
            (self.locked, "atomic operation"),
            (self.events, "event"),
            (self.interrupts, "interrupt"),
        ];
        for (at, (count, what)) in parts.into_iter().enumerate() {
            f.write_str(if at == 0 { "" } else { ", " })?;
            match count {
                ANY => write!(f, "any number of {what}s")?,
                1 => write!(f, "1 {what}")?,
                _ => write!(f, "{count} {what}s")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SYSCALLS;

    #[test]
    fn every_call_has_one_cost_in_the_order_of_the_table() {
        let calls: Vec<_> = SYSCALLS.iter().map(|row| row.name).collect();
        let costs: Vec<_> = COSTS.iter().map(|cost| cost.call).collect();
        assert_eq!(costs, calls);
    }

    #[test]
    fn a_cost_reads_as_a_sentence() {
        assert_eq!(
            cost("x", 1, 2, 0, ANY).to_string(),
            "1 lock, 2 atomic operations, 0 events, any number of interrupts"
        );
        assert!(cost_of("no_such_call").is_none());
    }

    #[test]
    fn locks_are_atomic_operations() {
        let fits = |cost: &Cost| cost.locks < cost.locked || cost.locks == ANY;
        assert!(COSTS.iter().all(fits), "and so is the kernel entry");
    }
}
