//! [`Gate`]: one system call on its way to an object crate.

use crate::core_kernel::Core;
use crate::machine::MachineApi;
use corey_abi::{
    AddressTreeCalls, DeviceCalls, Kernel, MachineCalls, ObjectCalls, PcoreCalls, SegmentCalls, ShareCalls,
};
use corey_kernel_atree::AddressTreeApi;
use corey_kernel_device::DeviceApi;
use corey_kernel_hal::Platform;
use corey_kernel_object::Entered;
use corey_kernel_pcore::PcoreApi;
use corey_kernel_segment::SegmentApi;
use corey_kernel_share::{Call, ShareApi};

/// One call: the core it runs on, and the kernel entry it belongs to. A call that a kernel core found in a ring passes
/// here, too: while it is made, the core's shares are the ring's.
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
            ending: &mut core.ending,
            replaced: &mut core.replaced,
            tsc_hz: core.system.info.tsc_hz,
            key: &core.system.boot_share,
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
            waiting: &mut core.waiting,
        }
    }
}
