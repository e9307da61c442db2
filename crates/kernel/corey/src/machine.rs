//! The calls on the machine.

use crate::audit;
use crate::map;
use crate::system::System;
use crate::waiting::{self, Waiting};
use corey_abi::{
    AuditReport, CORE_BY_NUMBER, CoreStat, Error, HeldShare, Id, Locality, MACHINE_CORES, MachineCalls,
    MachineInfo, ObjRef, PAGE_BYTES, Plain, RUN_SHARES, ShareEntry, UserPtr, control, counter,
};
use corey_kernel_hal::{CoreId, Exit, Platform};
use corey_kernel_object::{Handle, Link};
use corey_kernel_pcore::Pcore;
use corey_kernel_percore::{CoreSet, Message, MessageKind, Numbers, ObjectWords};
use corey_kernel_segment::Segment;
use corey_kernel_share::{Call, Share};
use corey_lib_sync::atomic::{Ordering, fence};

/// `machine_…` and its neighbours.
#[derive(Debug)]
pub(crate) struct MachineApi<'a, P: Platform> {
    pub(crate) call: Call<'a, P>,
    pub(crate) system: &'static System<P>,
    pub(crate) waiting: &'a mut Option<Waiting>,
}

impl<'a, P: Platform> MachineApi<'a, P> {
    /// Only the boot share is the key to the machine.
    fn key(&self, share: Id) -> Result<(), Error> {
        self.call.held.share(self.call.inside, share)?;
        if share == self.system.boot_share() { Ok(()) } else { Err(Error::NotPermitted) }
    }

    /// The segment with a word at `offset`.
    fn word_place(&self, segment: ObjRef, offset: u64) -> Result<Handle<'a, Segment>, Error> {
        let segment = self.call.object::<Segment>(segment)?;
        if !offset.is_multiple_of(8) {
            return Err(Error::Misaligned);
        }
        if offset / PAGE_BYTES >= segment.npages() {
            return Err(Error::OutOfRange);
        }
        Ok(segment)
    }
}

impl<P: Platform> MachineCalls for MachineApi<'_, P> {
    fn locality_get(&mut self, core: u64, information: UserPtr) -> Result<(), Error> {
        let (topology, memory) = (&self.system.info.topology, &self.system.world.memory);
        let own = u16::try_from(core).map(CoreId).map_err(|_| Error::NotFound)?;
        let place = topology.places.get(own.index()).ok_or(Error::NotFound)?;
        let mut out = Locality {
            apic_id: place.hardware_id.into(),
            position: place.position,
            cores: topology.places.len() as u64,
            source: topology.source,
            distance: [0; MACHINE_CORES],
            pages: memory.frames_of(own),
        };
        for (to, other) in out.distance.iter_mut().zip(0..).take(topology.places.len()) {
            *to = memory.distance(own, CoreId(other));
        }
        let mut bytes = [0; Locality::BYTES];
        out.to_bytes(&mut bytes);
        self.call.ctx.copy_out(self.call.inside, &bytes, information)
    }

    fn share_list(&mut self, share: Id, start: u64, list: UserPtr, count: u64) -> Result<u64, Error> {
        let call = &mut self.call;
        let inside = call.inside;
        let mut all = 0_u64;
        let (mut window, mut first) = (heapless::Vec::<ShareEntry, 16>::new(), start);
        let mut copied = Ok(());
        let platform = call.ctx.local.platform.clone();
        let mut take = |ctx: &mut corey_kernel_object::Ctx<P>, link: Link| {
            let Some(header) = link.header(inside) else { return };
            let wanted = all >= start && all - start < count;
            all += 1;
            if wanted && copied.is_ok() {
                // Room was made when it was last full.
                let _ = window.push(ShareEntry { id: header.id(), kind: header.kind() as u64 });
                if window.is_full() {
                    copied = flush(ctx, inside, list, start, &mut first, &mut window);
                }
            }
        };
        if share == Id::NULL {
            for link in call.held.iter() {
                take(call.ctx, link);
            }
        } else {
            let share = call.held.share(inside, share)?;
            let ctx = &mut *call.ctx;
            share.for_each(&platform, &mut |link| {
                take(ctx, link);
                true
            });
        }
        copied?;
        flush(call.ctx, inside, list, start, &mut first, &mut window)?;
        Ok(all)
    }

    fn core_wait(&mut self, segment: ObjRef, offset: u64, value: u64, nanoseconds: u64) -> Result<(), Error> {
        let segment = self.word_place(segment, offset)?;
        let inside = self.call.inside;
        let call = &mut self.call;
        let ticks = u128::from(nanoseconds) * u128::from(self.system.info.tsc_hz) / 1_000_000_000;
        let until = u64::try_from(ticks).ok().and_then(|t| t.checked_add(call.ctx.local.platform.tsc()));
        let home = segment.header().home();
        waiting::begin(call.ctx, inside, segment, offset, value)?;
        *self.waiting = Some(Waiting { home, until: until.unwrap_or(u64::MAX) });
        call.ctx.local.running.waits = true;
        call.ctx.local.attention = true;
        Ok(())
    }

    fn core_wake(&mut self, segment: ObjRef, offset: u64) -> Result<u64, Error> {
        let segment = self.word_place(segment, offset)?;
        Ok(waiting::wake(self.call.ctx, segment.header().home(), segment.link(), Some(offset)))
    }

    fn machine_info(&mut self, information: UserPtr) -> Result<(), Error> {
        let info = &self.system.info;
        let mut out = MachineInfo {
            cores: info.topology.places.len() as u64,
            tsc_hz: info.tsc_hz,
            pages: self.system.world.memory.frames(),
            hypervisor: u64::from(info.hypervisor),
            cpu: [0; 64],
            command_line_bytes: info.command_line.len() as u64,
            reserved: [0; 3],
            command_line: [0; 1024],
        };
        out.cpu.iter_mut().zip(info.cpu.bytes()).for_each(|(to, from)| *to = from);
        out.command_line.iter_mut().zip(info.command_line.bytes()).for_each(|(to, from)| *to = from);
        let mut bytes = [0; MachineInfo::BYTES];
        out.to_bytes(&mut bytes);
        self.call.ctx.copy_out(self.call.inside, &bytes, information)
    }

    fn machine_control(&mut self, share: Id, operation: u64, value: u64) -> Result<(), Error> {
        self.key(share)?;
        let machine = self.system.devices.machine();
        match (operation, value) {
            (control::EXIT, 0) => machine.exit(Exit::PowerOff),
            (control::EXIT, 1..=3) => machine.exit(Exit::Status(value as u8)),
            (control::REBOOT, _) => machine.exit(Exit::Reboot),
            (control::LOG_LEVEL, 0..=5) => {
                log::set_max_level(
                    log::LevelFilter::iter().nth(value as usize).unwrap_or(log::LevelFilter::Info),
                );
                Ok(())
            }
            (control::PRINT_OBJECTS, _) => {
                map::print(self.system, &mut self.call);
                Ok(())
            }
            _ => Err(Error::BadArgument),
        }
    }

    fn audit(&mut self, share: Id, report: UserPtr) -> Result<(), Error> {
        self.key(share)?;
        let result = audit::audit(self.system, &mut self.call)?;
        let mut bytes = [0; AuditReport::BYTES];
        result.to_bytes(&mut bytes);
        self.call.ctx.copy_out(self.call.inside, &bytes, report)
    }

    fn core_stat(&mut self, pcore: ObjRef, information: UserPtr) -> Result<(), Error> {
        let inside = self.call.inside;
        let call = &mut self.call;
        let core = if pcore.share == self.system.boot_share() && pcore.object.0 & CORE_BY_NUMBER != 0 {
            // The key to the machine shows all of it.
            call.held.share(inside, pcore.share)?;
            let number = pcore.object.0 & !CORE_BY_NUMBER;
            u16::try_from(number).map(CoreId).map_err(|_| Error::NotFound)?
        } else {
            call.object::<Pcore>(pcore)?.core()
        };
        if call.ctx.world.cores.get(core.index()).is_none() {
            return Err(Error::NotFound);
        }
        if core == call.ctx.core() {
            call.ctx.local.draw();
        } else {
            let message = Message { kind: MessageKind::Stat, object: ObjectWords::NULL, words: [0; 2] };
            call.ctx.local.broadcast(CoreSet::only(core), message);
            if call.ctx.local.has_lost(core) {
                return Err(Error::CoreLost);
            }
        }
        let per_core = call.ctx.world.cores.get(core.index()).ok_or(Error::NotFound)?;
        let Numbers { mode, tsc, tree, counters } = per_core.picture.numbers();
        let mut shares = [HeldShare::default(); RUN_SHARES];
        let mut nshares = 0;
        let named = per_core.picture.shares().filter_map(|words| Link::from(words).resolve::<Share>(inside));
        for (to, share) in shares.iter_mut().zip(named) {
            let holders = share.holders().words();
            *to = HeldShare { id: share.id(), name: share.header().name().0, holders };
            nshares += 1;
        }
        let stat = CoreStat {
            core: u64::from(core.0),
            mode,
            faults: counters.faults,
            ipis: counters.ipis,
            shootdowns: counters.shootdowns,
            syscalls: counters.syscalls,
            tsc,
            tree: Id(tree),
            turns: counters.turns,
            useful: counters.useful,
            ring_calls: counters.ring_calls,
            interrupts: counters.interrupts,
            nshares,
            shares,
        };
        let mut bytes = [0; CoreStat::BYTES];
        stat.to_bytes(&mut bytes);
        call.ctx.copy_out(inside, &bytes, information)
    }

    fn core_fence(&mut self, share: Id) -> Result<(), Error> {
        let call = &mut self.call;
        let holders = call.held.share(call.inside, share)?.holders();
        fence(Ordering::SeqCst);
        let message = Message { kind: MessageKind::Fence, object: ObjectWords::NULL, words: [0; 2] };
        call.ctx.local.broadcast(holders, message);
        Ok(())
    }

    fn counter_read(&mut self, which: u64) -> Result<u64, Error> {
        let counters = &self.call.ctx.local.counters;
        match which {
            counter::FAULTS => Ok(counters.faults),
            counter::IPIS => Ok(counters.ipis),
            counter::SHOOTDOWNS => Ok(counters.shootdowns),
            counter::SYSCALLS => Ok(counters.syscalls),
            _ => Err(Error::BadArgument),
        }
    }
}

/// Writes a window of entries to the user's list and empties it. `first` is the number of its first entry.
fn flush<P: Platform>(
    ctx: &mut corey_kernel_object::Ctx<P>,
    inside: &corey_kernel_object::Entered<'_>,
    list: UserPtr,
    start: u64,
    first: &mut u64,
    window: &mut heapless::Vec<ShareEntry, 16>,
) -> Result<(), Error> {
    for entry in window.iter() {
        let mut bytes = [0; ShareEntry::BYTES];
        entry.to_bytes(&mut bytes);
        let offset = (*first - start).checked_mul(ShareEntry::BYTES as u64).ok_or(Error::BadAddress)?;
        let to = list.0.checked_add(offset).ok_or(Error::BadAddress)?;
        ctx.copy_out(inside, &bytes, UserPtr(to))?;
        *first += 1;
    }
    window.clear();
    Ok(())
}
