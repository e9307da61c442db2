//! [`Gate`], [`RingGate`]: one system call on its way to an object crate.

use crate::core_kernel::Core;
use crate::machine::MachineApi;
use crate::system::System;
use corey_abi::{
    AddressTreeCalls, DeviceCalls, Kernel, MachineCalls, ObjectCalls, PcoreCalls, SegmentCalls, ShareCalls,
};
use corey_kernel_atree::AddressTreeApi;
use corey_kernel_device::DeviceApi;
use corey_kernel_hal::Platform;
use corey_kernel_object::{Ctx, Entered};
use corey_kernel_pcore::{Current, Own, PcoreApi};
use corey_kernel_segment::SegmentApi;
use corey_kernel_share::{Authority, Call, ShareApi};

/// One call: the core it runs on, and the kernel entry it belongs to.
#[derive(Debug)]
pub(crate) struct Gate<'a, P: Platform> {
    pub(crate) core: &'a mut Core<P>,
    pub(crate) inside: &'a Entered<'static>,
}

impl<P: Platform> Gate<'_, P> {
    #[inline(always)]
    fn call(&mut self) -> Call<'_, P> {
        let core = &mut *self.core;
        Call { ctx: &mut core.ctx, held: &mut core.held, inside: self.inside, dropped: &mut core.dropped }
    }
}

/// One call that a kernel core found in a ring: in the ring's name, and with nothing that is the core's own.
#[derive(Debug)]
pub(crate) struct RingGate<'a, P: Platform> {
    pub(crate) ctx: &'a mut Ctx<P>,
    pub(crate) held: &'a mut Authority,
    pub(crate) dropped: &'a mut Authority,
    /// The kernel core.
    pub(crate) current: &'a Option<Current>,
    pub(crate) system: &'static System<P>,
    pub(crate) inside: &'a Entered<'static>,
}

impl<P: Platform> RingGate<'_, P> {
    fn call(&mut self) -> Call<'_, P> {
        Call { ctx: self.ctx, held: self.held, inside: self.inside, dropped: self.dropped }
    }
}

impl<P: Platform> Kernel for RingGate<'_, P> {
    fn object(&mut self) -> impl ObjectCalls {
        ShareApi(self.call())
    }
    fn share(&mut self) -> impl ShareCalls {
        ShareApi(self.call())
    }
    fn segment(&mut self) -> impl SegmentCalls {
        SegmentApi(self.call())
    }
    fn at(&mut self) -> impl AddressTreeCalls {
        AddressTreeApi(self.call())
    }
    fn pcore(&mut self) -> impl PcoreCalls {
        PcoreApi { current: self.current, tsc_hz: self.system.info.tsc_hz, own: None, call: self.call() }
    }
    fn device(&mut self) -> impl DeviceCalls {
        let devices = &self.system.devices;
        DeviceApi(self.call(), devices)
    }
    fn machine(&mut self) -> impl MachineCalls {
        MachineApi { system: self.system, waiting: None, call: self.call() }
    }
}

/// One line per object kind: the compiler asks for it.
impl<P: Platform> Kernel for Gate<'_, P> {
    fn object(&mut self) -> impl ObjectCalls {
        ShareApi(self.call())
    }
    fn share(&mut self) -> impl ShareCalls {
        ShareApi(self.call())
    }
    fn segment(&mut self) -> impl SegmentCalls {
        SegmentApi(self.call())
    }
    fn at(&mut self) -> impl AddressTreeCalls {
        AddressTreeApi(self.call())
    }
    #[inline(always)]
    fn pcore(&mut self) -> impl PcoreCalls {
        let core = &mut *self.core;
        PcoreApi {
            call: Call {
                ctx: &mut core.ctx,
                held: &mut core.held,
                inside: self.inside,
                dropped: &mut core.dropped,
            },
            current: &core.current,
            own: Some(Own { ending: &mut core.ending, replaced: &mut core.replaced }),
            tsc_hz: core.system.info.tsc_hz,
        }
    }
    fn device(&mut self) -> impl DeviceCalls {
        let devices = &self.core.system.devices;
        DeviceApi(self.call(), devices)
    }
    fn machine(&mut self) -> impl MachineCalls {
        let core = &mut *self.core;
        MachineApi {
            call: Call {
                ctx: &mut core.ctx,
                held: &mut core.held,
                inside: self.inside,
                dropped: &mut core.dropped,
            },
            system: core.system,
            waiting: Some(&mut core.waiting),
        }
    }
}
