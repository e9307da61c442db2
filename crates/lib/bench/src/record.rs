//! One benchmark record as a JSON line, without the sequence number its writer adds.

use core::fmt;

/// A figure the system may be unable to give; absent prints as `null`.
pub type Figure = Option<u64>;

/// What one run of one variant at one core count gave.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// `corey` or `linux`.
    pub system: &'a str,
    /// Benchmark name.
    pub bench: &'a str,
    /// Variant name.
    pub variant: &'a str,
    /// Cores that took part.
    pub cores: u32,
    /// Operations per core.
    pub iters: u64,
    /// Whether the cores took turns.
    pub turn: bool,
    /// Nanoseconds from the first core's start to the last core's end; absent where times mean nothing.
    pub ns: Figure,
    /// Nanoseconds of each core from its own start to its own end.
    pub per_core_ns: &'a [u64],
    /// Page faults in the region, all cores.
    pub faults: Figure,
    /// Interprocessor interrupts sent.
    pub ipis: Figure,
    /// TLB shootdowns.
    pub shootdowns: Figure,
    /// System calls.
    pub syscalls: Figure,
    /// Processor brand or model.
    pub cpu: &'a str,
    /// Time-stamp counter ticks per second.
    pub tsc_hz: u64,
    /// Further string fields, in order.
    pub extra: &'a [(&'a str, &'a str)],
}

impl fmt::Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{\"record\":\"bench\",\"system\":{}", Text(self.system))?;
        write!(f, ",\"bench\":{},\"variant\":{}", Text(self.bench), Text(self.variant))?;
        let ops = self.iters.saturating_mul(u64::from(self.cores));
        write!(f, ",\"cores\":{},\"iters\":{},\"ops\":{ops}", self.cores, self.iters)?;
        write!(f, ",\"turn\":{}", u8::from(self.turn))?;
        figure(f, "ns", self.ns)?;
        f.write_str(",\"per_core_ns\":[")?;
        for (n, ns) in self.per_core_ns.iter().enumerate() {
            write!(f, "{}{ns}", if n == 0 { "" } else { "," })?;
        }
        f.write_str("]")?;
        let figures = [
            ("faults", self.faults),
            ("ipis", self.ipis),
            ("shootdowns", self.shootdowns),
            ("syscalls", self.syscalls),
        ];
        for (name, value) in figures {
            figure(f, name, value)?;
        }
        write!(f, ",\"cpu\":{},\"tsc_hz\":{}", Text(self.cpu), self.tsc_hz)?;
        for (name, value) in self.extra {
            write!(f, ",{}:{}", Text(name), Text(value))?;
        }
        f.write_str("}")
    }
}

fn figure(f: &mut fmt::Formatter<'_>, name: &str, value: Figure) -> fmt::Result {
    match value {
        Some(n) => write!(f, ",\"{name}\":{n}"),
        None => write!(f, ",\"{name}\":null"),
    }
}

/// Says whether a processor with this brand is QEMU's emulation, which has no caches and no distances.
pub fn emulated(cpu: &str) -> bool {
    cpu.contains("TCG")
}

/// A JSON string; control characters are escaped, so it never breaks the line.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                c if u32::from(c) < 0x20 => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_in_the_documented_order() {
        let record = Record {
            system: "corey",
            bench: "null",
            variant: "current",
            cores: 2,
            iters: 10,
            turn: true,
            ns: Some(99),
            per_core_ns: &[90, 95],
            faults: Some(0),
            ipis: None,
            shootdowns: None,
            syscalls: Some(20),
            cpu: "a \"b\"\n",
            tsc_hz: 1_000_000_000,
            extra: &[("thp", "never")],
        };
        assert_eq!(
            record.to_string(),
            "{\"record\":\"bench\",\"system\":\"corey\",\"bench\":\"null\",\"variant\":\"current\",\
             \"cores\":2,\"iters\":10,\"ops\":20,\"turn\":1,\"ns\":99,\"per_core_ns\":[90,95],\
             \"faults\":0,\"ipis\":null,\"shootdowns\":null,\"syscalls\":20,\
             \"cpu\":\"a \\\"b\\\"\\u000a\",\"tsc_hz\":1000000000,\"thp\":\"never\"}"
        );
    }

    #[test]
    fn a_time_that_means_nothing_is_null() {
        let record = Record {
            system: "corey",
            bench: "fig1",
            variant: "latency",
            cores: 1,
            iters: 1,
            turn: false,
            ns: None,
            per_core_ns: &[],
            faults: None,
            ipis: None,
            shootdowns: None,
            syscalls: None,
            cpu: "QEMU TCG CPU version 2.5+",
            tsc_hz: 1,
            extra: &[],
        };
        assert!(emulated(record.cpu) && !emulated("Some Processor"));
        assert!(record.to_string().contains(",\"ns\":null,\"per_core_ns\":[],\"faults\":null"));
    }
}
