//! This machine: which processors there are, and how far they lie apart.

/// Its processors and what they are.
#[derive(Debug)]
pub(crate) struct Host {
    /// The processors this program may use, by number.
    pub(crate) processors: Vec<u32>,
    /// The brand.
    pub(crate) cpu: String,
}

/// Where a processor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    package: u32,
    core: u32,
}

impl Host {
    pub(crate) fn find() -> Result<Self, String> {
        let mut set = [0_u64; 16];
        // SAFETY: the set is as long as it says.
        let bytes = unsafe { libc::sched_getaffinity(0, size_of_val(&set), set.as_mut_ptr().cast()) };
        if bytes < 0 {
            return Err("this machine does not say which processors may be used".to_owned());
        }
        let has = |n: &u32| set[*n as usize / 64] >> (n % 64) & 1 == 1;
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let brand = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Ok(Self {
            processors: (0..1024).filter(has).collect(),
            cpu: brand.map_or("unknown", |(_, brand)| brand).to_owned(),
        })
    }

    /// Binds the calling thread to the processor at `position`.
    pub(crate) fn bind(&self, position: u32) -> Result<(), String> {
        let processor = self.processors.get(position as usize).copied();
        let processor = processor.ok_or_else(|| format!("there is no processor {position}"))?;
        let mut set = [0_u64; 16];
        set[processor as usize / 64] = 1 << (processor % 64);
        // SAFETY: the set is as long as it says.
        match unsafe { libc::sched_setaffinity(0, size_of_val(&set), set.as_ptr().cast()) } {
            0 => Ok(()),
            _ => Err(format!("cannot run on processor {processor}")),
        }
    }

    /// How far two positions lie apart, as the kernel says.
    pub(crate) fn distance(&self, from: u32, to: u32) -> &'static str {
        let place = |position: u32| {
            let number = self.processors.get(position as usize)?;
            let read = |file: &str| -> Option<u32> {
                let path = format!("/sys/devices/system/cpu/cpu{number}/topology/{file}");
                std::fs::read_to_string(path).ok()?.trim().parse().ok()
            };
            Some(Place { package: read("physical_package_id")?, core: read("core_id")? })
        };
        if from == to { "itself" } else { apart(place(from), place(to)) }
    }
}

fn apart(from: Option<Place>, to: Option<Place>) -> &'static str {
    match (from, to) {
        (Some(a), Some(b)) if a == b => "same core",
        (Some(a), Some(b)) if a.package == b.package => "same package",
        (Some(_), Some(_)) => "other package",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_follows_core_and_package() {
        let place = |package, core| Some(Place { package, core });
        assert_eq!(apart(place(0, 1), place(0, 1)), "same core");
        assert_eq!(apart(place(0, 1), place(0, 2)), "same package");
        assert_eq!(apart(place(0, 1), place(1, 1)), "other package");
        assert_eq!(apart(place(0, 1), None), "unknown");
    }

    #[test]
    fn this_machine_has_a_processor_to_run_on() {
        let host = Host::find().unwrap();
        host.bind(0).unwrap();
        assert!(host.bind(5000).is_err());
    }
}
