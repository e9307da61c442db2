//! What a kernel core gains: the connections of a core that does everything, beside those of a core and its kernel core.

use corey_tools_model::predict::throughput;
use corey_tools_model::table::{band, markdown, short};
use corey_tools_model::{Cost, MACHINES, Machine, Split};

use crate::records::Records;
use crate::rows::System;
use crate::series::counts;

/// One core does all; two do it between them; Linux's second process on one card.
const ALONE: &str = "tcp/stack";
const DIVIDED: &str = "tcp/kernelcore";
const SECOND: &str = "tcp/shared";

/// Times as many connections with the second core, as the paper measured (§7.2): with a kernel core; on Linux, at best.
const PAPER: [f64; 2] = [2.0, 1.7];

/// What the table says of itself.
pub const NOTE: &str = "Connections a second, and how many times as many two cores make as one. While the stack's core is at one connection, the kernel core is at \
     another, so the slower of the two says how many there are. Not in it: accesses to the card's registers, interrupts that a card sends, \
     and that entering the kernel takes longer than other instructions, which all cost the core that does without a kernel core most.";

/// The head of the table.
pub(crate) const HEAD: [&str; 7] =
    ["machine", "system", "one core", "server's core", "second core", "times as many", "the paper"];

impl Records {
    /// Returns what was counted of connections that one core makes, and two.
    fn split(&self, system: System) -> Option<Split> {
        let of = |name: String| {
            let mut rows = self.rows.iter().filter(|(row, _)| row.cores == 1 && row.name == name);
            counts(rows.next()?.1.get(&system)?)
        };
        let server = of(format!("{DIVIDED} (both ends)"))?;
        let both = of(format!("{DIVIDED} (machine)"))?;
        Some(Split { alone: of(ALONE.to_owned())?, halves: [server, both.without(&server)] })
    }

    /// Returns the rows of the table; none where connections were not counted at one core, alone and with a kernel core.
    pub(crate) fn gains(&self) -> Vec<Vec<String>> {
        let cost = self.cost();
        let mut rows = Vec::new();
        for machine in &MACHINES {
            for (system, paper) in System::ALL.into_iter().zip(PAPER) {
                let start = |title: &str| vec![machine.name.to_owned(), title.to_owned()];
                if let Some(split) = self.split(system) {
                    let [server, second] = split.halves(machine, &cost);
                    let mut row = start(match system {
                        System::Corey => "ours, a kernel core",
                        System::Linux => "Linux, a processor for interrupts",
                    });
                    row.extend([split.alone(machine, &cost), server, second].map(band));
                    row.push(band(split.gain(machine, &cost)));
                    row.push(if system == System::Corey { short(paper) } else { "–".to_owned() });
                    rows.push(row);
                }
                if system == System::Linux
                    && let Some([one, gain]) = self.second_process(machine, &cost)
                {
                    let mut row = start("Linux, a second process on the card");
                    row.extend([one, "–".into(), "–".into(), gain, short(paper)]);
                    rows.push(row);
                }
            }
        }
        rows
    }

    /// Linux's connections with one process, and how many times as many two make on the same card.
    fn second_process(&self, machine: &Machine, cost: &Cost) -> Option<[String; 2]> {
        let series = self.series(SECOND, System::Linux);
        let [one, two] = [1, 2].map(|cores| {
            let (counts, worst) = series.at(cores).filter(|_| series.counted_to() >= 2)?;
            Some(throughput(machine, cost, cores, &counts, &worst))
        });
        let (one, two) = (one?, two?);
        Some([band(one), short(two.point / one.point)])
    }

    /// Returns the table; empty where connections were not counted at one core, alone and with a kernel core.
    #[must_use]
    pub fn kernel_core(&self) -> String {
        let rows = self.gains();
        if rows.is_empty() { String::new() } else { markdown(&HEAD, &rows) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(system: &str, variant: &str, machine: &str, insn: u32) -> String {
        format!(
            "{{\"record\":\"count\",\"bench\":\"tcp\",\"variant\":\"{variant}\",\"cores\":1,\"core\":0,\"ops\":10,\"insn_user_mean\":{insn}.0,\
             \"insn_kernel_mean\":0.0,\"system\":\"{system}\",\"machine\":{machine}}}"
        )
    }

    #[test]
    fn the_kernel_core_does_what_the_stacks_core_does_not() {
        let lines = [
            line("corey", "stack", "null", 12_000),
            line("corey", "kernelcore", "null", 8000),
            line("corey", "kernelcore", "\"ends\"", 8000),
            line("corey", "kernelcore", "true", 14_000),
        ];
        let records = Records::read(lines.iter().map(String::as_str));
        let text = records.kernel_core();
        // Of two machines; the second core has 6,000 instructions, the first 8,000.
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains("| 1.50") && text.contains("| 2.00"), "{text}");
        let without: Vec<&str> = lines.iter().map(String::as_str).take(3).collect();
        assert_eq!(Records::read(without).kernel_core(), "", "not without the kernel core's counts");
    }
}
