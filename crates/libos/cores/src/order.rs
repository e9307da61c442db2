//! [`Order`]: which cores to take first.

use crate::MAX_CORES;
use corey_abi::{Error, Locality, MachineCalls, Plain, UserPtr};
use corey_libos_rt::sys::sys;

/// Which free cores to take first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The nearest: by the distance of their memory, then those that share most with this one (physical core, cache,
    /// package), then by number from this one's on. For threads that share data.
    Nearest,
    /// One of each physical core but this thread's own, the nearest first. For threads that compute: two hardware
    /// threads of a core would share its units.
    PhysicalCores,
    /// Packages in turn, other ones first, and in each one its physical cores before second hardware threads. For
    /// threads that need caches and memory bandwidth more than each other.
    Spread,
}

/// A core, as others matter to the one that asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat {
    pub(crate) core: u16,
    /// The lowest thread of its physical core.
    pub(crate) thread_group: u16,
    package: u16,
    /// How many of its group come before it.
    turn: u16,
    /// How near it is: distance, what is shared, number.
    near: (u8, u8, u16),
}

impl Seat {
    /// The core that asks comes first: it has had its turn.
    fn key(&self, own: u16) -> (bool, u16, (u8, u8, u16)) {
        (self.core != own, self.turn, self.near)
    }
}

/// The locality of core `core`.
///
/// # Errors
///
/// `NotFound` when there is no such core.
pub fn locality(core: u16) -> Result<Locality, Error> {
    let mut bytes = [0; Locality::BYTES];
    sys().locality_get(core.into(), UserPtr(bytes.as_mut_ptr() as u64))?;
    Locality::from_bytes(&bytes).ok_or(Error::BadAddress)
}

/// All cores but `own` in `order`; [`Order::PhysicalCores`] still has every thread.
pub(crate) fn seats(own: u16, cores: u16, order: Order) -> Result<heapless::Vec<Seat, MAX_CORES>, Error> {
    let here = locality(own)?;
    let mut all = heapless::Vec::<Seat, MAX_CORES>::new();
    for step in 0..cores {
        let core = ((u32::from(own) + u32::from(step)) % u32::from(cores)) as u16;
        let there = locality(core)?.position;
        let distance = here.distance.get(usize::from(core)).copied().unwrap_or(u8::MAX);
        let near = (distance, here.position.apart(&there), step);
        let seat = Seat {
            core,
            thread_group: there.thread_group as u16,
            package: there.package as u16,
            turn: 0,
            near,
        };
        // There are at most `MAX_CORES`.
        let _ = all.push(seat);
    }
    all.sort_unstable_by_key(|seat| seat.key(own));
    if order == Order::Spread {
        // First all first threads of a physical core, then all second ones; then in turns one of each package.
        for group in [|seat: &Seat| seat.thread_group, |seat: &Seat| seat.package] {
            for at in 0..all.len() {
                let (before, rest) = all.split_at_mut(at);
                if let Some(seat) = rest.first_mut() {
                    seat.turn = before.iter().filter(|other| group(other) == group(seat)).count() as u16;
                }
            }
            all.sort_unstable_by_key(|seat| seat.key(own));
        }
    }
    all.retain(|seat| seat.core != own);
    Ok(all)
}
