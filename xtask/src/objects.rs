//! The kernel's map of its memory, as it prints it: which object and which part of it an address is.

use std::collections::BTreeMap;

use serde_json::Value;

/// Where the kernel's direct map of physical memory starts.
pub(crate) const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;

/// Bytes of a frame.
const FRAME: u64 = 4096;

/// Something at physical addresses.
#[derive(Clone, Debug)]
struct Area {
    start: u64,
    length: u64,
    /// Bytes of an element, where it is an array.
    element: u64,
    name: String,
}

/// Objects and fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct Map {
    areas: Vec<Area>,
    /// By kind of object or name of array: first byte, bytes, name.
    fields: BTreeMap<String, Vec<(u64, u64, String)>>,
}

/// Whether a line is of the map.
pub(crate) fn is_map(value: &Value) -> bool {
    matches!(value["record"].as_str(), Some("objmap" | "objfield"))
}

impl Map {
    /// Takes a record; others than those of a map are passed over.
    pub(crate) fn add(&mut self, value: &Value) {
        let number = |key: &str| value[key].as_u64();
        let name = || value["name"].as_str().map(str::to_owned);
        match value["record"].as_str() {
            Some("objmap") => {
                if let (Some(address), Some(length), Some(name)) =
                    (hexadecimal(&value["addr"]), number("len"), name())
                {
                    let start = address.wrapping_sub(DIRECT_MAP);
                    let element = number("each").unwrap_or(length).max(1);
                    self.areas.push(Area { start, length, element, name });
                }
            }
            Some("objfield") => {
                if let (Some(of), Some(at), Some(length), Some(name)) =
                    (value["of"].as_str(), number("at"), number("len"), name())
                {
                    let fields = self.fields.entry(of.to_owned()).or_default();
                    let field = (at, length, name);
                    if !fields.contains(&field) {
                        fields.push(field);
                    }
                }
            }
            _ => {}
        }
    }

    /// What lies at physical address `at`: the smallest thing, its element, its field.
    pub(crate) fn name(&self, at: u64) -> Option<String> {
        let inside = |area: &&Area| at.checked_sub(area.start).is_some_and(|offset| offset < area.length);
        let area = self.areas.iter().filter(inside).min_by_key(|area| area.length)?;
        let offset = at - area.start;
        let mut name = area.name.clone();
        if area.element < area.length {
            name += &format!("[{}]", offset / area.element);
        }
        // Objects have the fields of their kind, arrays their own.
        let kind = area.name.split([':', ' ']).next().unwrap_or_default();
        let is_frame = area.name.contains(':') && area.name.contains('.');
        let fields = self.fields.get(kind).filter(|_| !is_frame);
        let offset = offset % area.element;
        let field = fields
            .into_iter()
            .flatten()
            .find(|(first, length, _)| offset.checked_sub(*first).is_some_and(|within| within < *length));
        if let Some((.., field)) = field {
            name += &format!(".{field}");
        }
        // A descriptor is its frame's.
        if area.name == "frame.descriptor"
            && let Some(frame) = self.name((at - area.start) / area.element * FRAME)
        {
            name += &format!(" of {frame}");
        }
        Some(name)
    }
}

/// A number as text `0x…`.
pub(crate) fn hexadecimal(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map() -> Map {
        let mut map = Map::default();
        for record in [
            json!({"record": "objmap", "addr": "0xffff800000001000", "len": 4096, "each": 512, "name": "slot of core 1"}),
            json!({"record": "objmap", "addr": "0xffff800000001200", "len": 512, "each": 512, "name": "Share:both share"}),
            json!({"record": "objmap", "addr": "0xffff800000005000", "len": 4096, "each": 4096, "name": "Share:both share.table"}),
            json!({"record": "objmap", "addr": "0xffff800000009000", "len": 1536, "each": 768, "name": "percore"}),
            json!({"record": "objmap", "addr": "0xffff80000000b000", "len": 800, "each": 8, "name": "frame.descriptor"}),
            json!({"record": "objfield", "of": "Share", "at": 24, "len": 4, "name": "refs"}),
            json!({"record": "objfield", "of": "slot", "at": 0, "len": 8, "name": "id"}),
            json!({"record": "objfield", "of": "percore", "at": 512, "len": 256, "name": "mailbox"}),
        ] {
            map.add(&record);
        }
        map
    }

    #[test]
    fn the_smallest_thing_and_its_field_are_named() {
        let map = map();
        let name = |at| map.name(at).unwrap_or_default();
        assert_eq!(name(0x121a), "Share:both share.refs");
        assert_eq!(name(0x1300), "Share:both share");
        assert_eq!(name(0x1403), "slot of core 1[2].id");
        assert_eq!(name(0x5018), "Share:both share.table");
        assert_eq!(name(0x9000 + 768 + 600), "percore[1].mailbox");
        assert_eq!(name(0xb000 + 5 * 8), "frame.descriptor[5] of Share:both share.table");
        assert_eq!(name(0xb000 + 80 * 8), "frame.descriptor[80]");
        assert_eq!(map.name(0x7000), None);
    }

    #[test]
    fn other_records_are_no_map() {
        assert!(is_map(&json!({"record": "objfield"})) && !is_map(&json!({"record": "bench"})));
        let mut map = Map::default();
        map.add(&json!({"record": "bench", "name": "x"}));
        assert_eq!(map.name(0), None);
    }
}
