//! What this machine's processors can do, as data.

use core::arch::x86_64::__cpuid_count;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use corey_arch_x86_64_asm::read_msr;
use raw_cpuid::{CpuId, CpuIdReaderNative};

/// What a processor is not prone to.
const ARCH_CAPABILITIES: u32 = 0x10a;

/// Found once, on the boot processor. On lines of its own: every copy to and from user memory reads it, and a static
/// beside it may be written.
#[derive(Debug)]
#[repr(align(128))]
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
    /// User code reads and writes its FS and GS bases itself.
    pub fsgsbase: AtomicBool,
    /// User mode runs on tables of its own: not what the processor can do, but what was asked for.
    pub isolated: AtomicBool,
    /// Components of user state that XSAVE keeps, as XCR0 names them ([`KEPT`]); 0 without XSAVE: then it is what
    /// FXSAVE keeps.
    pub xcr0: AtomicU64,
}

/// Components that programs may use where the processor has them: x87, SSE, AVX; and the three of AVX-512.
///
/// Left out on purpose: protection keys (CR4.PKE stays off, so PKRU does not exist), MPX (withdrawn by its maker) and
/// AMX (eight kilobytes that every switch would carry). What is not in XCR0 faults, and so cannot leak.
const KEPT: [u64; 2] = [0b111, 0b1110_0000];

// `used` keeps it in one piece: the compiler would make a static of each flag, and put others beside them.
#[used]
pub(crate) static FEATURES: Features = Features {
    smep: AtomicBool::new(false),
    smap: AtomicBool::new(false),
    umip: AtomicBool::new(false),
    nx: AtomicBool::new(false),
    huge: AtomicBool::new(false),
    hypervisor: AtomicBool::new(false),
    fsgsbase: AtomicBool::new(false),
    isolated: AtomicBool::new(false),
    xcr0: AtomicU64::new(0),
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
            set(&FEATURES.fsgsbase, leaf.has_fsgsbase());
        }
        if let Some(leaf) = cpuid.get_extended_processor_and_feature_identifiers() {
            set(&FEATURES.nx, leaf.has_execute_disable());
            set(&FEATURES.huge, leaf.has_1gib_pages());
        }
        if let Some(leaf) = cpuid.get_feature_info() {
            set(&FEATURES.hypervisor, leaf.has_hypervisor());
            if leaf.has_xsave() {
                FEATURES.xcr0.store(kept(&cpuid), Ordering::Relaxed);
            }
        }
    }
}

/// What to set XCR0 to: x87 and SSE always, AVX if it is there, AVX-512 if that is there whole. Nothing where no leaf
/// says which components there are: then XSAVE stays off.
fn kept(cpuid: &CpuId<CpuIdReaderNative>) -> u64 {
    let [base, wide] = KEPT;
    let Some(leaf) = cpuid.get_extended_state_info() else { return 0 };
    let avx = leaf.xcr0_supports_avx_256();
    let all = leaf.xcr0_supports_avx512_opmask()
        && leaf.xcr0_supports_avx512_zmm_hi256()
        && leaf.xcr0_supports_avx512_zmm_hi16();
    match (avx, all) {
        (true, true) => base | wide,
        (true, false) => base,
        (false, _) => base & 0b11,
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

/// Family, model, and `IA32_ARCH_CAPABILITIES` where there is one; the vendor's name goes to `vendor`.
#[must_use]
pub fn identity(vendor: &mut heapless::String<16>) -> (u8, u8, Option<u64>) {
    let cpuid = CpuId::with_cpuid_reader(CpuIdReaderNative);
    if let Some(info) = cpuid.get_vendor_info() {
        // Twelve bytes.
        let _ = vendor.push_str(info.as_str());
    }
    let (family, model) = cpuid.get_feature_info().map_or((0, 0), |leaf| (leaf.family_id(), leaf.model_id()));
    // `raw-cpuid` does not name bit 29 of leaf 7's edx.
    let listed = cpuid.get_extended_feature_info().is_some() && __cpuid_count(7, 0).edx >> 29 & 1 == 1;
    // SAFETY: the processor says that it has the register.
    let capabilities = listed.then(|| unsafe { read_msr(ARCH_CAPABILITIES) });
    (family, model, capabilities)
}
