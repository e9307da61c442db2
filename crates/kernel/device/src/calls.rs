//! The calls on devices.

use crate::console::LINE_BYTES;
use crate::devices::{Device, Devices, Which};
use crate::network::Network;
use corey_abi::{
    BufferHeader, CardConfig, DeviceCalls, DeviceEntry, Error, Home, Id, Kind, NetworkStat, ObjRef,
    PAGE_BYTES, Plain, RingConfig, UserPtr, buffer_op, card_filter,
};
use corey_kernel_hal::{Direction, Filter, Platform};
use corey_kernel_object::Handle;
use corey_kernel_percore::{CoreSet, Message, MessageKind, ObjectWords};
use corey_kernel_segment::Segment;
use corey_kernel_share::Call;

const HEADER: u64 = BufferHeader::BYTES as u64;

/// `device_…`.
#[derive(Debug)]
pub struct DeviceApi<'a, P: Platform>(pub Call<'a, P>, pub &'static Devices);

impl<P: Platform> DeviceCalls for DeviceApi<'_, P> {
    fn device_list(&mut self, start: u64, list: UserPtr, count: u64) -> Result<u64, Error> {
        let all = self.1.count();
        for (at, device) in (start..all).take(usize::try_from(count).unwrap_or(usize::MAX)).enumerate() {
            let mut bytes = [0; DeviceEntry::BYTES];
            DeviceEntry { kind: self.1.kind(device).unwrap_or(0), device }.to_bytes(&mut bytes);
            let to = list.0.checked_add((at * DeviceEntry::BYTES) as u64).ok_or(Error::BadAddress)?;
            self.0.ctx.copy_out(self.0.inside, &bytes, UserPtr(to))?;
        }
        Ok(all)
    }

    fn device_alloc(&mut self, share: Id, device: u64, core: Home, name: UserPtr) -> Result<Id, Error> {
        let share = self.0.share_for(share, Kind::Device)?;
        let which = self.1.get(device).ok_or(Error::NotFound)?;
        let call = &mut self.0;
        call.held.check_home(call.ctx, call.inside, core)?;
        let name = call.ctx.read_name(call.inside, name)?;
        share.charge(call.ctx, 0, 1)?;
        // The object that had it may be dead and wait to be reclaimed.
        let taken = self.1.take(device) || {
            call.ctx.drain_all();
            self.1.take(device)
        };
        let started = match which {
            _ if !taken => Err(Error::Busy),
            Which::Console | Which::Ring => Ok(()),
            Which::Network(card) => card.start(&mut call.ctx.local).inspect_err(|_| self.1.release(device)),
        };
        let made = started.and_then(|()| call.ctx.home(core)).and_then(|home| {
            call.ctx.create(call.inside, core, &name, 0, Device::new(self.1, device, which, home))
        });
        match made {
            Ok(device) => call.name_new(&share, device.header(), 0),
            Err(error) => {
                share.refund(call.ctx, 0, 1);
                Err(error)
            }
        }
    }

    fn device_stat(&mut self, device: ObjRef, information: UserPtr) -> Result<(), Error> {
        match self.0.object::<Device>(device)?.which() {
            Which::Console | Which::Ring => Err(Error::Unsupported),
            Which::Network(card) => {
                let mut bytes = [0; NetworkStat::BYTES];
                card.stat(&mut self.0.ctx.local).to_bytes(&mut bytes);
                self.0.ctx.copy_out(self.0.inside, &bytes, information)
            }
        }
    }

    fn device_conf(&mut self, device: ObjRef, configuration: UserPtr) -> Result<(), Error> {
        let device = self.0.object::<Device>(device)?;
        match device.which() {
            Which::Console => Err(Error::Unsupported),
            Which::Network(card) => self.card(card, configuration),
            Which::Ring => self.serve(device, configuration),
        }
    }

    fn device_buf(
        &mut self,
        device: ObjRef,
        operation: u64,
        segment: ObjRef,
        offset: u64,
    ) -> Result<(), Error> {
        let device = self.0.object::<Device>(device)?;
        let which = device.which();
        if matches!(which, Which::Ring) {
            return if operation == buffer_op::POLL { self.wake(device) } else { Err(Error::Unsupported) };
        }
        let direction = match operation {
            buffer_op::RESET => return self.reset(which),
            buffer_op::POLL => return self.poll(which),
            _ => match buffer_op::kind(operation) {
                buffer_op::OUT => Direction::Transmit,
                buffer_op::IN => Direction::Receive,
                _ => return Err(Error::BadArgument),
            },
        };
        let last = operation & buffer_op::MORE == 0;
        let marked = buffer_op::mark_of(operation);
        if matches!(which, Which::Console) && (direction == Direction::Receive || marked.is_some()) {
            return Err(Error::Unsupported);
        }
        let segment = self.0.object::<Segment>(segment)?;
        if !offset.is_multiple_of(16) {
            return Err(Error::Misaligned);
        }
        let size = segment.npages() * PAGE_BYTES;
        let data = offset.checked_add(HEADER).filter(|end| *end <= size).ok_or(Error::OutOfRange)?;
        match which {
            Which::Network(card) => {
                card.post(self.0.ctx, self.0.inside, (segment, offset), (direction, marked), last)
            }
            Which::Console | Which::Ring => self.line(segment, offset, data, size),
        }
    }
}

impl<P: Platform> DeviceApi<'_, P> {
    /// Tells a card which frames to accept, and where results go.
    fn card(&mut self, card: &Network, configuration: UserPtr) -> Result<(), Error> {
        let mut bytes = [0; CardConfig::BYTES];
        self.0.ctx.copy_in(self.0.inside, configuration, &mut bytes)?;
        let config = CardConfig::from_bytes(&bytes).ok_or(Error::BadArgument)?;
        let filter = match config.filter {
            card_filter::OWN => Filter::Own,
            card_filter::GROUPS => Filter::Groups,
            card_filter::PROMISCUOUS => Filter::Promiscuous,
            _ => return Err(Error::BadArgument),
        };
        if config.reserved != 0 {
            return Err(Error::BadArgument);
        }
        let results = match config.results {
            none if none == ObjRef::default() => None,
            named => {
                let segment = self.0.object::<Segment>(named)?;
                if !config.offset.is_multiple_of(PAGE_BYTES) {
                    return Err(Error::Misaligned);
                }
                let page = config.offset / PAGE_BYTES;
                if page >= segment.npages() {
                    return Err(Error::OutOfRange);
                }
                Some((segment, page))
            }
        };
        card.configure(self.0.ctx, self.0.inside, filter, results)
    }

    /// Has the ring that is described served.
    fn serve(&mut self, device: Handle<'_, Device>, configuration: UserPtr) -> Result<(), Error> {
        let call = &mut self.0;
        let mut bytes = [0; RingConfig::BYTES];
        call.ctx.copy_in(call.inside, configuration, &mut bytes)?;
        let config = RingConfig::from_bytes(&bytes).ok_or(Error::BadArgument)?;
        if let Some(core) = device.ring().configure(call, &config)? {
            let message = Message { kind: MessageKind::Recheck, object: ObjectWords::NULL, words: [0; 2] };
            call.ctx.local.broadcast(CoreSet::only(core), message);
        }
        Ok(())
    }

    fn reset(&mut self, which: Which) -> Result<(), Error> {
        match which {
            // A line is done when the call returns: nothing is ever posted.
            Which::Console | Which::Ring => Ok(()),
            Which::Network(card) => card.reset(self.0.ctx, self.0.inside),
        }
    }

    fn poll(&mut self, which: Which) -> Result<(), Error> {
        match which {
            Which::Console | Which::Ring => Ok(()),
            Which::Network(card) => card.poll(self.0.ctx, self.0.inside).map(|_| ()),
        }
    }

    /// Wakes the kernel core that serves a ring: it looks at all its devices.
    fn wake(&mut self, device: Handle<'_, Device>) -> Result<(), Error> {
        let ctx = &mut *self.0.ctx;
        if let Some(core) = device.ring().poller(ctx)
            && core != ctx.core()
        {
            let message = Message { kind: MessageKind::Wake, object: ObjectWords::NULL, words: [0; 2] };
            ctx.local.broadcast(CoreSet::only(core), message);
        }
        Ok(())
    }

    /// Writes the buffer at `offset` of `segment`, of `size` bytes, as a line.
    fn line(&mut self, segment: Handle<'_, Segment>, offset: u64, data: u64, size: u64) -> Result<(), Error> {
        let (ctx, inside) = (&mut *self.0.ctx, self.0.inside);
        let mut bytes = [0; BufferHeader::BYTES];
        Segment::read(segment, ctx, inside, offset, &mut bytes)?;
        let mut header = BufferHeader::from_bytes(&bytes).ok_or(Error::BadArgument)?;
        if header.ready != 1 {
            return Err(Error::Busy);
        }
        let length = header.length as usize;
        let mut line = [0; LINE_BYTES];
        let text = line.get_mut(..length).ok_or(Error::OutOfRange)?;
        if data.checked_add(length as u64).is_none_or(|end| end > size) {
            return Err(Error::OutOfRange);
        }
        Segment::read(segment, ctx, inside, data, text)?;
        self.1.line(&mut ctx.local, text);
        header = BufferHeader { ready: 0, done: 1, error: 0, ..header };
        header.to_bytes(&mut bytes);
        Segment::write(segment, ctx, inside, offset, &bytes)
    }
}
