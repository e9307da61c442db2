//! [`Gate`]: one system call on its way to an object crate.

use crate::machine::MachineApi;
use crate::system::System;
use corey_abi::{
    AddressTreeCalls, DeviceCalls, Kernel, MachineCalls, ObjectCalls, PcoreCalls, SegmentCalls, ShareCalls,
};
use corey_kernel_atree::AddressTreeApi;
use corey_kernel_device::DeviceApi;
use corey_kernel_hal::Platform;
use corey_kernel_pcore::{Current, Ending, PcoreApi, Request};
use corey_kernel_segment::SegmentApi;
use corey_kernel_share::{Call, ShareApi};

/// A call's authority and surroundings.
#[derive(Debug)]
pub(crate) struct Gate<'a, P: Platform> {
    pub(crate) call: Call<'a, P>,
    pub(crate) system: &'static System<P>,
    pub(crate) current: &'a Option<Current>,
    pub(crate) ending: &'a mut Option<Ending>,
    pub(crate) replaced: &'a mut Option<Request>,
}

/// One line per object kind: the compiler asks for it.
impl<P: Platform> Kernel for Gate<'_, P> {
    fn object(&mut self) -> impl ObjectCalls {
        ShareApi(&mut self.call)
    }
    fn share(&mut self) -> impl ShareCalls {
        ShareApi(&mut self.call)
    }
    fn segment(&mut self) -> impl SegmentCalls {
        SegmentApi(&mut self.call)
    }
    fn at(&mut self) -> impl AddressTreeCalls {
        AddressTreeApi(&mut self.call)
    }
    fn pcore(&mut self) -> impl PcoreCalls {
        PcoreApi {
            call: &mut self.call,
            current: self.current,
            requests: &self.system.requests,
            ending: self.ending,
            replaced: self.replaced,
        }
    }
    fn device(&mut self) -> impl DeviceCalls {
        DeviceApi(&mut self.call, &self.system.devices)
    }
    fn machine(&mut self) -> impl MachineCalls {
        MachineApi { call: &mut self.call, system: self.system }
    }
}
