//! The console: taken and given back, and buffers of every shape.

use crate::common::*;
use crate::{conform, same};
use corey_abi::{DeviceCalls, Home, Id, ObjRef, ShareCalls};
use corey_kernel_device::LINE_BYTES;
use corey_test_hal_host::User;
use corey_test_model::{ModelBuffer, ModelDevice};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Alloc(u64),
    Free,
    Header(u64, u32, u32),
    Buffer(u64, u64),
}

const PAGES: u64 = 3;
const VA: u64 = 0x6000_0000_0000;

/// Offsets near the ends of pages and of the segment, aligned or not.
fn offset() -> impl Strategy<Value = u64> {
    let near = (0..=PAGES, -48..48_i64).prop_map(|(page, by)| (page * 4096).saturating_add_signed(by));
    prop_oneof![3 => near.clone().prop_map(|at| at & !15), 1 => near]
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![4 => 0..40_u32, 1 => 4000..4200_u32, 1 => any::<u32>()];
    prop_oneof![
        1 => prop_oneof![4 => Just(0), 1 => 1..4_u64].prop_map(Step::Alloc),
        1 => Just(Step::Free),
        4 => (offset(), 0..3_u32, length).prop_map(|(at, ready, n)| Step::Header(at, ready, n)),
        8 => (prop_oneof![6 => Just(0), 1 => 1..5_u64], offset()).prop_map(|(op, at)| Step::Buffer(op, at)),
    ]
}

struct World {
    share: Id,
    segment: ObjRef,
    device: Option<ObjRef>,
    model: ModelDevice,
    lines: usize,
}

impl World {
    /// What the segment says at `offset`.
    fn header(&self, user: &mut User<'_>, offset: u64) -> ModelBuffer {
        if offset + 16 > PAGES * 4096 {
            return ModelBuffer::default();
        }
        let word = user.read(VA + offset).expect("mapped");
        ModelBuffer { ready: word as u32 == 1, length: word >> 32 }
    }

    fn step(&mut self, user: &mut User<'_>, step: &Step) -> Result<(), String> {
        match *step {
            Step::Alloc(number) => {
                let text = name(user, "console");
                let got = user.sys().device_alloc(self.share, number, Home::Any, text);
                if let Ok(object) = got {
                    self.device = Some(ObjRef { share: self.share, object });
                }
                same(step, got.map(|_| ()), self.model.alloc(number))
            }
            Step::Free => {
                if let Some(device) = self.device.take() {
                    self.model.free();
                    return same(step, user.sys().share_delobj(device), Ok(()));
                }
                Ok(())
            }
            Step::Header(at, ready, length) => {
                let at = at & !7;
                if at + 8 <= PAGES * 4096 {
                    let word = u64::from(ready) | u64::from(length) << 32;
                    user.write(VA + at, word).expect("mapped");
                }
                Ok(())
            }
            Step::Buffer(operation, offset) => {
                let Some(device) = self.device else { return Ok(()) };
                let before = if offset % 8 == 0 { self.header(user, offset) } else { ModelBuffer::default() };
                let got = user.sys().device_buf(device, operation, self.segment, offset);
                let wanted = self.model.buffer(operation, offset, before);
                same(step, got, wanted.map(|_| ()))?;
                if wanted == Ok(true) {
                    self.lines += 1;
                    let after = self.header(user, offset);
                    let done = user.read(VA + offset + 8).expect("mapped") as u32;
                    return same(step, (after, done), (ModelBuffer { ready: false, ..before }, 1));
                }
                Ok(())
            }
        }
    }
}

#[test]
fn the_console_takes_lines_as_the_model() {
    conform(file!(), "devices", step(), |steps| {
        let booted = boot(1);
        let lines = booted.on(0, move |user| {
            let first = start(user);
            let share = share(user, first.boot, 100, 10).expect("quota enough");
            let segment = segment(user, share, PAGES).expect("quota enough");
            map(user, first.tree, 100, segment, VA, PAGES).expect("free addresses");
            let model = ModelDevice::new(PAGES * 4096, LINE_BYTES as u64);
            let mut world = World { share, segment, device: None, model, lines: 0 };
            let result = steps.iter().try_for_each(|step| world.step(user, step));
            end(user, first.boot, share);
            result.map(|()| world.lines)
        })?;
        same(&"lines on the console", booted.machine().console().lines().count(), lines)?;
        audit(&booted);
        Ok(())
    });
}
