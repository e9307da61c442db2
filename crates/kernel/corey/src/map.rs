//! Prints what lies where in the kernel's memory, for the line meter's names.
//!
//! `objmap` records: an address, bytes, a name; where it is an array, the bytes of an element. An object's name is its
//! kind and its own name; its frames follow, with what they are. `objfield` records: a part of an element, or of every
//! object of a kind.

use crate::system::System;
use core::fmt::{Arguments, Write};
use corey_abi::Kind;
use corey_kernel_atree::Tree;
use corey_kernel_device::Device;
use corey_kernel_hal::{Boot, Field, Frame, PAGE_SIZE, Platform};
use corey_kernel_object::{Ctx, Header, Object, SLOT};
use corey_kernel_pcore::Pcore;
use corey_kernel_segment::Segment;
use corey_kernel_share::{Call, Share};

/// Prints all of it.
pub(crate) fn print<P: Platform>(system: &'static System<P>, call: &mut Call<'_, P>) {
    let mut printer = Printer { system, run: None };
    let ctx = &mut *call.ctx;
    system.map(&mut |area| {
        let (address, bytes, name) = (area.address, area.bytes, area.name);
        printer.line(ctx, format_args!(
            "{{\"record\":\"objmap\",\"addr\":\"{address:#x}\",\"len\":{bytes},\"each\":{},\"name\":\"{name}\"}}",
            area.element
        ));
        printer.fields(ctx, name, 0, area.fields);
    });
    for (kind, fields) in [
        (Kind::Share, <Share as Object<P>>::FIELDS),
        (Kind::Segment, <Segment as Object<P>>::FIELDS),
        (Kind::AddressTree, <Tree as Object<P>>::FIELDS),
        (Kind::Pcore, <Pcore as Object<P>>::FIELDS),
        (Kind::Device, <Device as Object<P>>::FIELDS),
    ] {
        let mut name = heapless::String::<16>::new();
        // The longest kind has eleven characters.
        let _ = write!(name, "{kind:?}");
        printer.fields(call.ctx, &name, 0, Header::FIELDS);
        printer.fields(call.ctx, &name, size_of::<Header>(), fields);
    }
    printer.fields(call.ctx, "slot", 0, Header::FIELDS);
    call.ctx.each_slab(&mut |ctx, core, frame| {
        let address = address(ctx, frame);
        printer.line(ctx, format_args!(
            "{{\"record\":\"objmap\",\"addr\":\"{address:#x}\",\"len\":{PAGE_SIZE},\"each\":{SLOT},\"name\":\"slot of core {}\"}}",
            core.0
        ));
    });
    call.ctx.each_object(call.inside, &mut |ctx, header| printer.object(ctx, header));
}

fn address<P: Platform>(ctx: &Ctx<P>, frame: Frame) -> u64 {
    ctx.local.platform.direct(frame).as_ptr() as u64
}

/// Frames that follow each other and are the same: first, how many, what.
type Run = (Frame, u64, &'static str);

struct Printer<P: 'static> {
    system: &'static System<P>,
    run: Option<Run>,
}

impl<P: Platform> Printer<P> {
    /// Prints one line. Names are short; a line that is cut is no JSON, and the meter skips it.
    fn line(&self, ctx: &mut Ctx<P>, text: Arguments<'_>) {
        let mut line = heapless::String::<192>::new();
        let _ = line.write_fmt(text);
        self.system.devices.line(&mut ctx.local, line.as_bytes());
    }

    fn fields(&self, ctx: &mut Ctx<P>, of: &str, first: usize, fields: &[Field]) {
        for Field { name, at, bytes } in fields {
            let at = first + at;
            self.line(
                ctx,
                format_args!(
                    "{{\"record\":\"objfield\",\"of\":\"{of}\",\"at\":{at},\"len\":{bytes},\"name\":\"{name}\"}}"
                ),
            );
        }
    }

    fn object(&mut self, ctx: &mut Ctx<P>, header: &Header) {
        let name = header.name();
        let name = name.as_str();
        let plain = |b: u8| (b' '..=b'~').contains(&b) && b != b'"' && b != b'\\';
        let name = if name.bytes().all(plain) { name } else { "?" };
        let (address, kind) = (header.link().words().address(), header.kind());
        self.line(
            ctx,
            format_args!(
                "{{\"record\":\"objmap\",\"addr\":\"{address:#x}\",\"len\":{SLOT},\"each\":{SLOT},\"name\":\"{kind:?}:{name}\"}}"
            ),
        );
        let platform = ctx.local.platform.clone();
        let mut frame = |ctx: &mut Ctx<P>, frame: Frame, what| self.frame(ctx, (kind, name), frame, what);
        if let Some(share) = header.handle::<Share>() {
            share.each_frame(&platform, &mut |at| frame(ctx, at, "table"));
        } else if let Some(segment) = header.handle::<Segment>() {
            segment
                .each_frame(&platform, &mut |at, page| frame(ctx, at, if page { "page" } else { "slots" }));
        } else if let Some(tree) = header.handle::<Tree>() {
            for (at, table) in tree.frames(ctx) {
                frame(ctx, at, if table { "tables" } else { "slots" });
            }
        }
        self.flush(ctx, (kind, name));
    }

    /// Adds a frame to the run, or prints the run and begins another.
    fn frame(&mut self, ctx: &mut Ctx<P>, object: (Kind, &str), frame: Frame, what: &'static str) {
        match &mut self.run {
            Some((first, count, same))
                if u64::from(first.0) + *count == u64::from(frame.0) && *same == what =>
            {
                *count += 1;
            }
            _ => {
                self.flush(ctx, object);
                self.run = Some((frame, 1, what));
            }
        }
    }

    fn flush(&mut self, ctx: &mut Ctx<P>, (kind, name): (Kind, &str)) {
        if let Some((first, count, what)) = self.run.take() {
            let (address, bytes) = (address(ctx, first), count * PAGE_SIZE);
            self.line(
                ctx,
                format_args!(
                    "{{\"record\":\"objmap\",\"addr\":\"{address:#x}\",\"len\":{bytes},\"each\":{bytes},\"name\":\"{kind:?}:{name}.{what}\"}}"
                ),
            );
        }
    }
}
