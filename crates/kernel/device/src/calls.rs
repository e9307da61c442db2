//! The calls on devices.

use crate::console::{Device, Devices, LINE_BYTES};
use corey_abi::{
    BufferHeader, DeviceCalls, DeviceEntry, Error, Home, Id, Kind, ObjRef, PAGE_BYTES, Plain, UserPtr,
    buffer_op, device_kind,
};
use corey_kernel_hal::Platform;
use corey_kernel_segment::Segment;
use corey_kernel_share::Call;

const HEADER: u64 = BufferHeader::BYTES as u64;
/// The console's number.
const CONSOLE: u64 = 0;

/// `device_…`.
#[derive(Debug)]
pub struct DeviceApi<'a, P: Platform>(pub Call<'a, P>, pub &'static Devices);

impl<P: Platform> DeviceCalls for DeviceApi<'_, P> {
    fn device_list(&mut self, start: u64, list: UserPtr, count: u64) -> Result<u64, Error> {
        if start == 0 && count > 0 {
            let mut bytes = [0; DeviceEntry::BYTES];
            DeviceEntry { kind: device_kind::CONSOLE, device: CONSOLE }.to_bytes(&mut bytes);
            self.0.ctx.copy_out(self.0.inside, &bytes, list)?;
        }
        Ok(1)
    }

    fn device_alloc(&mut self, share: Id, device: u64, core: Home, name: UserPtr) -> Result<Id, Error> {
        let share = self.0.share_for(share, Kind::Device)?;
        if device != CONSOLE {
            return Err(Error::NotFound);
        }
        let call = &mut self.0;
        call.held.check_home(call.ctx, call.inside, core)?;
        let name = call.ctx.read_name(call.inside, name)?;
        share.charge(call.ctx, 0, 1)?;
        // The object that had it may be dead and wait to be reclaimed.
        let taken = self.1.take() || {
            call.ctx.drain_all();
            self.1.take()
        };
        if !taken {
            share.refund(call.ctx, 0, 1);
            return Err(Error::Busy);
        }
        match call.ctx.create(call.inside, core, &name, 0, Device::new(self.1)) {
            Ok(device) => call.name_new(&share, device.header(), 0),
            Err(error) => {
                share.refund(call.ctx, 0, 1);
                Err(error)
            }
        }
    }

    fn device_stat(&mut self, device: ObjRef, _: UserPtr) -> Result<(), Error> {
        self.0.object::<Device>(device)?;
        Err(Error::Unsupported)
    }

    fn device_conf(&mut self, device: ObjRef, _: UserPtr) -> Result<(), Error> {
        self.0.object::<Device>(device)?;
        Err(Error::Unsupported)
    }

    fn device_buf(
        &mut self,
        device: ObjRef,
        operation: u64,
        segment: ObjRef,
        offset: u64,
    ) -> Result<(), Error> {
        self.0.object::<Device>(device)?;
        match operation {
            buffer_op::OUT => {}
            // A line is done when the call returns: nothing is ever posted.
            buffer_op::RESET => return Ok(()),
            buffer_op::IN => return Err(Error::Unsupported),
            _ => return Err(Error::BadArgument),
        }
        let segment = self.0.object::<Segment>(segment)?;
        if !offset.is_multiple_of(16) {
            return Err(Error::Misaligned);
        }
        let size = segment.npages() * PAGE_BYTES;
        let data = offset.checked_add(HEADER).filter(|end| *end <= size).ok_or(Error::OutOfRange)?;
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
