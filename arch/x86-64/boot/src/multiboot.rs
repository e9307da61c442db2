//! Multiboot2 information (specification 2.0, §3.6).

use crate::facts::{Facts, Framebuffer};
use corey_arch_x86_64_paging::direct;
use multiboot2::{
    BootInformation, BootInformationHeader, FramebufferField, FramebufferTag, FramebufferType, MemoryAreaType,
};

/// Reads what GRUB left at physical `address`.
///
/// # Safety
///
/// `address` is what the loader passed in ebx; the boot tables are live.
pub(crate) unsafe fn read(facts: &mut Facts, address: u64) {
    // SAFETY: the caller's promise: boot information at this address, in the direct map.
    let loaded = unsafe { BootInformation::load(direct(address).cast::<BootInformationHeader>()) };
    let Ok(info) = loaded else {
        facts.complaint = Some("the boot information cannot be read");
        return;
    };
    facts.add_used(address, address + info.total_size() as u64);
    if let Some(Ok(text)) = info.command_line_tag().map(|t| t.cmdline()) {
        facts.set_command_line(text);
    }
    match info.memory_map_tag() {
        Some(map) => {
            for area in map.memory_areas() {
                if area.typ() == MemoryAreaType::Available {
                    facts.add_ram(area.start_address(), area.size());
                }
            }
        }
        None => facts.complaint = Some("the loader gave no memory map"),
    }
    for module in info.module_tags() {
        facts.add_module(u64::from(module.start_address()), u64::from(module.end_address()));
    }
    facts.framebuffer = info.framebuffer_tag().and_then(Result::ok).and_then(framebuffer);
    // The tag holds a copy of the root pointer, after its 8-byte header.
    let copy = info
        .rsdp_v2_tag()
        .map(|t| core::ptr::from_ref(t).cast::<u8>())
        .or_else(|| info.rsdp_v1_tag().map(|t| core::ptr::from_ref(t).cast::<u8>()));
    facts.rsdp = copy.map(|tag| tag as u64 - direct(0) as u64 + 8);
}

/// A framebuffer of pixels; VGA text is where it always is, and palettes nobody uses any more.
fn framebuffer(tag: &FramebufferTag) -> Option<Framebuffer> {
    let Ok(FramebufferType::RGB { red, green, blue }) = tag.buffer_type() else { return None };
    Some(Framebuffer {
        address: tag.address(),
        size: (tag.width(), tag.height()),
        pitch: tag.pitch(),
        bits: tag.bpp(),
        colours: [red, green, blue].map(|FramebufferField { position, size }| (position, size)),
    })
}
