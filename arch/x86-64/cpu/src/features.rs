//! What this machine's processors can do, as data.

use core::sync::atomic::{AtomicBool, Ordering};
use raw_cpuid::{CpuId, CpuIdReaderNative};

/// Found once, on the boot processor.
#[derive(Debug)]
pub struct Features {
    /// Supervisor code cannot execute user pages.
    pub smep: AtomicBool,
    /// Supervisor code reaches user pages only between `stac` and `clac`.
    pub smap: AtomicBool,
    /// User code cannot read descriptor-table registers.
    pub umip: AtomicBool,
    /// Pages can be non-executable.
    pub nx: AtomicBool,
    /// 1 GiB pages.
    pub huge: AtomicBool,
    /// A hypervisor says it is there.
    pub hypervisor: AtomicBool,
}

static FEATURES: Features = Features {
    smep: AtomicBool::new(false),
    smap: AtomicBool::new(false),
    umip: AtomicBool::new(false),
    nx: AtomicBool::new(false),
    huge: AtomicBool::new(false),
    hypervisor: AtomicBool::new(false),
};

/// What was found; all false before [`Features::detect`].
#[inline(always)]
#[must_use]
pub fn features() -> &'static Features {
    &FEATURES
}

impl Features {
    /// Asks the processor. Leaves out of range return stale data, so their ends are checked (by `raw-cpuid`).
    pub fn detect() {
        let cpuid = CpuId::new();
        let set = |flag: &AtomicBool, value: bool| flag.store(value, Ordering::Relaxed);
        if let Some(leaf) = cpuid.get_extended_feature_info() {
            set(&FEATURES.smep, leaf.has_smep());
            set(&FEATURES.smap, leaf.has_smap());
            set(&FEATURES.umip, leaf.has_umip());
        }
        if let Some(leaf) = cpuid.get_extended_processor_and_feature_identifiers() {
            set(&FEATURES.nx, leaf.has_execute_disable());
            set(&FEATURES.huge, leaf.has_1gib_pages());
        }
        if let Some(leaf) = cpuid.get_feature_info() {
            set(&FEATURES.hypervisor, leaf.has_hypervisor());
        }
    }
}

/// Vendor and model, for records: printable, without quotes.
#[must_use]
pub fn name() -> heapless::String<64> {
    let cpuid = CpuId::with_cpuid_reader(CpuIdReaderNative);
    let mut out = heapless::String::<64>::new();
    let mut add = |text: &str| {
        let clean = text.trim_matches(|c: char| c == ' ' || c == '\0');
        for c in clean.chars().filter(|c| (' '..='~').contains(c) && *c != '"' && *c != '\\') {
            // A name that is longer is cut.
            let _ = out.push(c);
        }
    };
    if let Some(vendor) = cpuid.get_vendor_info() {
        add(vendor.as_str());
    }
    if let Some(brand) = cpuid.get_processor_brand_string() {
        add("/");
        add(brand.as_str());
    }
    out
}
