//! From the meter's records to named lines, and why each may be shared.

use std::collections::BTreeMap;

use corey_lib_sharing::{BOTH, Case, EXCEPTIONS, Exception, Part, Who};
use serde_json::{Value, json};

use crate::Result;
use crate::lines::Lines;
use crate::objects::{DIRECT_MAP, Map, hexadecimal};
use crate::symbols::Symbols;

use super::Step;

/// Names for what the meter saw.
pub(super) struct Names<'a> {
    map: Map,
    symbols: &'a Symbols,
    lines: &'a Lines,
}

/// One end of a shared line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Side {
    pub(super) case: Case,
    /// The core that made the call.
    pub(super) core: u64,
    /// The core whose instruction it was: the same, or one that worked for it.
    pub(super) cpu: u64,
    /// The function, and where in the source.
    pub(super) site: String,
    /// Object and field.
    pub(super) place: String,
    pub(super) wrote: bool,
}

/// Why a line may be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It is of an object that both can reach.
    Object,
    /// Position in [`EXCEPTIONS`].
    Exception(usize),
    /// It may not.
    Unexplained,
}

/// A line that two operations have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) writer: Side,
    pub(super) other: Side,
    pub(super) why: Why,
}

/// The operations of one core: highest figures of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operations {
    pub(super) case: Case,
    pub(super) core: u64,
    pub(super) count: u64,
    /// Median.
    pub(super) insn: u64,
    pub(super) locks: u64,
    pub(super) locked: u64,
    pub(super) events: u64,
    pub(super) interrupts: u64,
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) part: Part,
    pub(super) workers: u32,
    pub(super) first: Case,
    pub(super) second: Case,
    pub(super) operations: Vec<Operations>,
    pub(super) lines: Vec<Line>,
}

impl<'a> Names<'a> {
    /// The map that the guest printed, and the symbols of kernel and program.
    pub(super) fn new(said: &[Value], symbols: &'a Symbols, lines: &'a Lines) -> Self {
        let mut map = Map::default();
        said.iter().for_each(|record| map.add(record));
        Self { map, symbols, lines }
    }

    fn place(&self, physical: u64, virtual_address: u64) -> String {
        const SCREEN: std::ops::Range<u64> = 0xa_0000..0xc_0000;
        // QEMU tells where in its memory an access went, which above 2 GiB, and for the screen's, is not the machine's
        // address; the direct map knows that.
        let physical = virtual_address.checked_sub(DIRECT_MAP).filter(|at| *at < 1 << 46).unwrap_or(physical);
        if SCREEN.contains(&physical) {
            return "screen memory".to_owned();
        }
        if let Some(name) = self.map.name(physical) {
            return name;
        }
        match self.symbols.data(virtual_address) {
            Some(name) => format!("static {name}"),
            None if virtual_address < 1 << 63 => "user memory".to_owned(),
            None => "a frame of a short-lived object".to_owned(),
        }
    }

    fn site(&self, pc: u64) -> String {
        let symbol = || self.symbols.name(pc).unwrap_or("?").to_owned();
        match self.lines.place(pc) {
            Some(place) => format!("{} ({})", place.function, place.at),
            None => symbol(),
        }
    }
}

/// Puts the meter's records into the steps that were made; the n-th report is of the n-th step.
///
/// # Errors
///
/// A report that is missing or is not of its step; markers out of order.
pub(super) fn read(steps: &[Step], workers: u32, metered: &str, names: &Names<'_>) -> Result<Vec<Measured>> {
    let empty = |step: &Step| Measured {
        part: step.part,
        workers,
        first: step.first,
        second: step.second,
        operations: Vec::new(),
        lines: Vec::new(),
    };
    let mut found: Vec<Measured> = steps.iter().map(empty).collect();
    let (mut reports, mut cases) = (0, BTreeMap::<u64, Case>::new());
    for line in metered.lines() {
        let record: Value = serde_json::from_str(line)?;
        let number = |key: &str| record[key].as_u64().unwrap_or(0);
        let report = usize::try_from(number("report"))?;
        let step = found.get_mut(report).ok_or_else(|| format!("report {report} is of no step"))?;
        match record["record"].as_str() {
            Some("operations") => {
                let case = u32::try_from(number("case")).ok().and_then(Case::from_id);
                let case = case.filter(|case| [step.first, step.second].contains(case));
                let case = case.ok_or_else(|| format!("report {report} is not of its step: {line}"))?;
                if u32::try_from(number("part")).ok().and_then(Part::from_id) != Some(step.part) {
                    return Err(format!("report {report} is of another part: {line}").into());
                }
                cases.insert(number("core"), case);
                step.operations.push(Operations {
                    case,
                    core: number("core"),
                    count: number("ops"),
                    insn: number("insn"),
                    locks: number("locks_max"),
                    locked: number("locked_max"),
                    events: number("events_max"),
                    interrupts: number("icr_max"),
                });
            }
            Some("shared") => {
                let side = |value: &Value| -> Result<Side> {
                    let number = |key: &str| value[key].as_u64().unwrap_or(0);
                    let address = |key: &str| hexadecimal(&value[key]).unwrap_or(0);
                    let case = cases.get(&number("core")).ok_or("a line of no operation")?;
                    Ok(Side {
                        case: *case,
                        core: number("core"),
                        cpu: number("cpu"),
                        site: names.site(address("pc")),
                        place: names.place(address("addr"), address("vaddr")),
                        wrote: value["wrote"] == true,
                    })
                };
                let (writer, other) = (side(&record["writer"])?, side(&record["other"])?);
                let why = explain(step.part, &writer, &other);
                step.lines.push(Line { writer, other, why });
            }
            Some("meter") => {
                if record["markers_misplaced"] != 0 {
                    return Err(format!("report {report} has misplaced markers").into());
                }
                let seen = |case| step.operations.iter().any(|o| o.case == case && o.count > 0);
                if !seen(step.first) || !seen(step.second) {
                    return Err(format!("report {report} lacks operations of {step:?}").into());
                }
                reports += 1;
                cases.clear();
            }
            _ => {}
        }
    }
    if reports != found.len() {
        return Err(format!("{reports} reports for {} steps", found.len()).into());
    }
    Ok(found)
}

/// Why the two may have a line in common.
fn explain(part: Part, writer: &Side, other: &Side) -> Why {
    let reachable = |side: &Side| side.place.contains(&format!(":{BOTH} "));
    if part == Part::Shared && reachable(writer) && reachable(other) {
        return Why::Object;
    }
    let fitting = EXCEPTIONS.iter().position(|exception| fits(exception, part, writer, other));
    fitting.map_or(Why::Unexplained, Why::Exception)
}

/// Whether `exception` explains a line with these ends. One for a core and its own kernel core explains no line between two
/// such pairs, and no other one a line within a pair.
pub(super) fn fits(exception: &Exception, part: Part, writer: &Side, other: &Side) -> bool {
    exception.concerns(part, writer.case, other.case)
        && exception.who.is_own() == (writer.core == other.core)
        && (exception.who != Who::OwnDoorbell || writer.is_of_a_message_to_the_kernel_core())
        && exception.covers(&bare(&writer.place))
        && exception.covers(&bare(&other.place))
}

impl Side {
    /// Whether it is of a message from a core to its own kernel core: in the kernel core's mailbox, or the core's notice.
    fn is_of_a_message_to_the_kernel_core(&self) -> bool {
        let is_of_core = self.place.starts_with(&format!("percore[{}].", self.core));
        is_of_core == self.place.ends_with(".notice")
    }
}

/// A place without positions in arrays.
fn bare(place: &str) -> String {
    let parts = place.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest));
    parts.collect()
}

impl Line {
    /// Whether it goes over between a core and its own kernel core, and may.
    pub(super) fn is_own(&self) -> bool {
        self.writer.core == self.other.core && self.why != Why::Unexplained
    }

    /// Names object, field and both call sites.
    pub(super) fn text(&self) -> String {
        let did = |side: &Side| if side.wrote { "written" } else { "read" };
        let who = |side: &Side| {
            let by = if side.cpu == side.core { String::new() } else { format!(" for core {}", side.core) };
            format!("{} by {} in {}, core {}{by}", did(side), side.site, side.case.name(), side.cpu)
        };
        let (writer, other) = (who(&self.writer), who(&self.other));
        if self.writer.place == self.other.place {
            format!("{}: {writer}; {other}", self.writer.place)
        } else {
            format!("{}: {writer}; {} on the same line: {other}", self.writer.place, self.other.place)
        }
    }
}

impl Measured {
    /// All lines but those that go over between a core and its own kernel core and may: of the latter a ring has dozens.
    pub(super) fn between(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| !line.is_own())
    }

    /// JSON lines: one for the measurement, one for each line but those of a core and its own kernel core, which are counted.
    pub(super) fn records(&self) -> Vec<String> {
        let head = |record: &str| {
            json!({
                "record": record, "part": self.part.name(), "workers": self.workers,
                "first": self.first.name(), "second": self.second.name(),
            })
        };
        let mut pair = head("pair");
        let count = |wanted: fn(&Why) -> bool| self.between().filter(|line| wanted(&line.why)).count();
        pair["lines"] = self.between().count().into();
        if self.part.is_by_ring() {
            pair["own"] = self.lines.iter().filter(|line| line.is_own()).count().into();
        }
        pair["of_object"] = count(|why| *why == Why::Object).into();
        pair["exceptions"] = count(|why| matches!(why, Why::Exception(_))).into();
        pair["unexplained"] = count(|why| *why == Why::Unexplained).into();
        let operations = self.operations.iter().map(|o| {
            json!({
                "case": o.case.name(), "core": o.core, "ops": o.count, "insn": o.insn, "locks_max": o.locks,
                "locked_max": o.locked, "events_max": o.events, "interrupts_max": o.interrupts,
            })
        });
        pair["operations"] = operations.collect();
        let side = |side: &Side| {
            json!({
                "case": side.case.name(), "core": side.core, "cpu": side.cpu, "site": side.site,
                "place": side.place, "wrote": side.wrote,
            })
        };
        let lines = self.between().map(|line| {
            let mut record = head("line");
            record["writer"] = side(&line.writer);
            record["other"] = side(&line.other);
            record["why"] = match line.why {
                Why::Object => "object".into(),
                Why::Exception(at) => EXCEPTIONS[at].reason.into(),
                Why::Unexplained => Value::Null,
            };
            record.to_string()
        });
        [pair.to_string()].into_iter().chain(lines).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One end: whose operation, and the address, in kernel memory.
    type End = (u64, u64);

    /// A shared line with these ends; the processors are `above` those whose operations they are, but the writer's where both
    /// are of one.
    fn shared(writer: End, other: End, above: u64) -> String {
        let own = writer.0 == other.0;
        let touch = |(core, at): End, wrote: bool| {
            let cpu = if own && wrote { core } else { core + above };
            json!({
                "core": core, "cpu": cpu, "pc": format!("{:#x}", 0x1000 * core), "addr": format!("{at:#x}"),
                "vaddr": format!("{:#x}", at + 0xffff_8000_0000_0000), "wrote": wrote,
            })
        };
        json!({"record": "shared", "report": 0, "writer": touch(writer, true), "other": touch(other, false)})
            .to_string()
    }

    /// One measurement as the meter tells it, with lines that core 1 writes at the first address and core 2 reads at the
    /// second.
    pub(in crate::sharing) fn measured(
        part: Part,
        first: Case,
        second: Case,
        lines: &[(u64, u64)],
    ) -> Vec<Measured> {
        let lines: Vec<(End, End)> =
            lines.iter().map(|(writer, other)| ((1, *writer), (2, *other))).collect();
        measured_by(part, first, second, &lines, 0)
    }

    /// The same with the processors of [`shared`].
    pub(in crate::sharing) fn measured_by(
        part: Part,
        first: Case,
        second: Case,
        lines: &[(End, End)],
        above: u64,
    ) -> Vec<Measured> {
        let record = |value: &str| serde_json::from_str(value).unwrap();
        let said: Vec<Value> = vec![
            record(
                r#"{"record":"objmap","addr":"0xffff800000001000","len":512,"each":512,"name":"Segment:both growing"}"#,
            ),
            record(
                r#"{"record":"objmap","addr":"0xffff800000002000","len":512,"each":512,"name":"Segment:own segment"}"#,
            ),
            record(r#"{"record":"objmap","addr":"0xffff800000003000","len":128,"each":128,"name":"stock"}"#),
            record(
                r#"{"record":"objmap","addr":"0xffff800000004000","len":4096,"each":4096,"name":"Segment:call ring.page"}"#,
            ),
            record(
                r#"{"record":"objmap","addr":"0xffff800000008000","len":8192,"each":1024,"name":"percore"}"#,
            ),
            record(r#"{"record":"objfield","of":"percore","at":0,"len":128,"name":"mailbox"}"#),
            record(r#"{"record":"objfield","of":"percore","at":128,"len":128,"name":"notice"}"#),
            record(r#"{"record":"objfield","of":"Segment","at":256,"len":8,"name":"npages"}"#),
        ];
        let mut symbols = Symbols::default();
        symbols.add_kallsyms(["1000 t grow", "2000 t size"].into_iter());
        let none = Lines::none();
        let names = Names::new(&said, &symbols, &none);
        let operations = |core: u64, case: Case| {
            json!({
                "record": "operations", "report": 0, "part": part.id(), "core": core, "case": case.id(), "ops": 8,
                "insn": 100, "locks_max": 0, "locked_max": 1, "events_max": 0, "icr_max": 0, "mmio_max": 0,
            })
            .to_string()
        };
        let mut text = vec![operations(1, first), operations(2, second)];
        text.extend(lines.iter().map(|(writer, other)| shared(*writer, *other, above)));
        text.push(r#"{"record":"meter","report":0,"markers_misplaced":0}"#.to_owned());
        read(&[Step { part, first, second }], 2, &text.join("\n"), &names).unwrap()
    }

    #[test]
    fn a_line_is_told_with_object_field_and_call_sites() {
        let found = measured(Part::Planted, Case::SegmentGrow, Case::SegmentGrow, &[(0x1100, 0x1100)]);
        let line = &found[0].lines[0];
        assert_eq!(line.why, Why::Unexplained);
        assert_eq!(
            line.text(),
            "Segment:both growing.npages: written by grow in segment_set_nbytes:grow, core 1; read by size in \
             segment_set_nbytes:grow, core 2"
        );
    }

    #[test]
    fn what_both_can_reach_explains_a_line_of_the_shared_part_only() {
        let why = |part, lines: &[(u64, u64)]| {
            measured(part, Case::ObjGetName, Case::CounterRead, lines)[0].lines[0].why
        };
        assert_eq!(why(Part::Shared, &[(0x1100, 0x1108)]), Why::Object);
        assert_eq!(why(Part::Private, &[(0x1100, 0x1108)]), Why::Unexplained);
        assert_eq!(why(Part::Shared, &[(0x2100, 0x2100)]), Why::Unexplained, "private to one");
        assert_eq!(why(Part::Shared, &[(0x3000, 0x3008)]), Why::Unexplained, "the kernel's own");
    }

    #[test]
    fn a_rings_lines_are_explained_between_a_core_and_its_own_kernel_core_only() {
        let why = |writer: End, other: End, case| {
            measured_by(Part::Ring, case, Case::CounterRead, &[(writer, other)], 5)[0].lines[0].why
        };
        let is_exception = |why| matches!(why, Why::Exception(_));
        let name = Case::ObjGetName;
        assert!(is_exception(why((1, 0x4000), (1, 0x4000), name)));
        assert_eq!(why((1, 0x4000), (2, 0x4000), name), Why::Unexplained, "a ring of two");
        assert_eq!(why((1, 0x2100), (1, 0x2100), name), Why::Unexplained, "an object that no call touched");
        // Core 1 wakes its kernel core 6, which asks core 1 only about what concerns that.
        assert!(is_exception(why((1, 0x9800), (1, 0x9800), name)), "the kernel core's mailbox");
        assert!(is_exception(why((1, 0x8480), (1, 0x8480), name)), "the caller's notice");
        assert_eq!(why((1, 0x8400), (1, 0x8400), name), Why::Unexplained, "the caller's mailbox");
        assert_eq!(why((1, 0x9880), (1, 0x9880), name), Why::Unexplained, "the kernel core's notice");
        assert!(is_exception(why((1, 0x8400), (1, 0x8400), Case::CoreFence)));
        assert_eq!(why((1, 0x9800), (2, 0x9800), Case::CoreFence), Why::Unexplained, "of two pairs");
    }

    #[test]
    fn places_are_compared_without_positions() {
        assert_eq!(bare("percore[12].mailbox"), "percore.mailbox");
        assert_eq!(bare("slot of core 3[7].next"), "slot of core 3.next");
        assert_eq!(bare("stock"), "stock");
    }

    #[test]
    fn an_exception_explains_the_lines_of_its_place_and_calls() {
        for (at, exception) in EXCEPTIONS.iter().enumerate() {
            let concerned = |(a, b): &(Case, Case)| exception.concerns(exception.part, *a, *b);
            let all = Case::ALL.iter().flat_map(|a| Case::ALL.iter().map(move |b| (*a, *b)));
            let count = all.filter(concerned).count();
            assert!(
                count > 0 && exception.reason.len() > 20,
                "exception {at} concerns nothing: {exception:?}"
            );
        }
    }

    #[test]
    fn a_report_that_is_missing_or_of_another_step_is_an_error() {
        let symbols = Symbols::default();
        let lines = Lines::none();
        let names = Names::new(&[], &symbols, &lines);
        let step = Step { part: Part::Private, first: Case::ObjGetName, second: Case::ObjGetName };
        assert!(read(&[step], 2, "", &names).is_err());
        let other = json!({"record": "operations", "report": 0, "part": Part::Private.id(), "core": 1, "case": Case::Audit.id()});
        assert!(read(&[step], 2, &other.to_string(), &names).is_err());
        let lacking = r#"{"record":"meter","report":0,"markers_misplaced":0}"#;
        assert!(read(&[step], 2, lacking, &names).is_err());
    }

    #[test]
    fn records_are_json_and_say_why() {
        let found = measured(
            Part::Shared,
            Case::ObjGetName,
            Case::CounterRead,
            &[(0x1100, 0x1100), (0x3000, 0x3000)],
        );
        let records: Vec<Value> =
            found[0].records().iter().map(|r| serde_json::from_str(r).unwrap()).collect();
        assert_eq!(
            (&records[0]["lines"], &records[0]["of_object"], &records[0]["unexplained"]),
            (&2.into(), &1.into(), &1.into())
        );
        assert_eq!((&records[1]["why"], &records[2]["why"]), (&"object".into(), &Value::Null));
    }
}
