//! Whether programs on this processor can read what only the kernel may (Meltdown, CVE-2017-5754).

/// What tells processors apart, as CPUID and `IA32_ARCH_CAPABILITIES` say it.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// CPUID leaf 0.
    pub vendor: &'a str,
    /// Display family.
    pub family: u8,
    /// Display model.
    pub model: u8,
    /// `IA32_ARCH_CAPABILITIES`, where the processor has it.
    pub capabilities: Option<u64>,
}

/// Bit of `IA32_ARCH_CAPABILITIES`: loads do not go on past a missing permission (Intel, "Deep Dive: CPUID
/// Enumeration and Architectural MSRs").
const RDCL_NO: u64 = 1;

/// Vendors whose processors check permissions before a load's value goes anywhere.
const UNAFFECTED_VENDORS: [&str; 2] = ["AuthenticAMD", "HygonGenuine"];

/// Intel's processors of family 6 that do not execute out of order: Atoms of the first two generations.
const IN_ORDER: [u8; 5] = [0x1c, 0x26, 0x27, 0x35, 0x36];

/// Whether the processor is prone. What is not known to be safe is.
#[must_use]
pub fn is_prone(who: Identity<'_>) -> bool {
    let unaffected = UNAFFECTED_VENDORS.contains(&who.vendor);
    let fixed = who.capabilities.is_some_and(|bits| bits & RDCL_NO != 0);
    let in_order = who.vendor == "GenuineIntel" && who.family == 6 && IN_ORDER.contains(&who.model);
    !(unaffected || fixed || in_order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intel(model: u8, capabilities: Option<u64>) -> bool {
        is_prone(Identity { vendor: "GenuineIntel", family: 6, model, capabilities })
    }

    #[test]
    fn intel_is_prone_unless_it_says_no_or_works_in_order() {
        assert!(intel(0x3c, None), "Haswell");
        assert!(intel(0x55, Some(0)), "Skylake-SP, with the register");
        assert!(!intel(0x55, Some(RDCL_NO)), "Cascade Lake: the same model, fixed");
        assert!(!intel(0x1c, None), "the first Atom");
        assert!(intel(0x4d, None), "Silvermont");
    }

    #[test]
    fn amd_is_not_and_strangers_are() {
        let other = |vendor| is_prone(Identity { vendor, family: 23, model: 0x1c, capabilities: None });
        assert!(!other("AuthenticAMD") && !other("HygonGenuine"));
        assert!(other("SomebodyElse"));
    }
}
