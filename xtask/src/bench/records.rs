//! Records: what xtask adds to each.

use std::process::Command;

use serde_json::Value;

use crate::process::quiet;
use crate::qemu::{self, Execution};
use crate::{paths, toolchain};

pub(super) use corey_tools_report::rows::spread;
pub(super) use corey_tools_report::{Row, median, or_dash, short};

/// What every record gets: accelerator, mode, versions.
#[derive(Debug)]
pub(crate) struct Stamp(String);

impl Stamp {
    /// Looks versions up once.
    pub(crate) fn new(execution: Execution) -> Self {
        let thread = match execution {
            Execution::Multi => "multi",
            Execution::Single | Execution::Counted => "single",
        };
        let icount = u8::from(execution == Execution::Counted);
        let text = |s: String| Value::String(s).to_string();
        Self(format!(
            ",\"accel\":\"tcg\",\"thread\":\"{thread}\",\"icount\":{icount},\"qemu\":{}{}}}",
            text(qemu::version()),
            versions(),
        ))
    }

    /// For a record of this machine's own processors.
    pub(super) fn hosted() -> Self {
        Self(format!(",\"accel\":\"hosted\"{}}}", versions()))
    }

    /// The stamp for people.
    pub(crate) fn words(&self) -> String {
        let fields = self.0.trim_matches([',', '}']).replace("\":", " ").replace('"', "");
        fields.replace(',', ", ")
    }

    /// `line`, a JSON object, with `more` fields (each as `,"key":value`) and the stamp at its end.
    pub(crate) fn add(&self, line: &str, more: &str) -> String {
        match line.trim_end().strip_suffix('}') {
            Some(open) => format!("{open}{more}{}", self.0),
            None => line.to_owned(),
        }
    }
}

/// The fields `git` and `toolchain`.
fn versions() -> String {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty"]).current_dir(paths::root());
    let git = quiet("", &mut git).map_or_else(|_| "unknown".into(), |text| text.trim().to_owned());
    let text = |s: String| Value::String(s).to_string();
    format!(",\"git\":{},\"toolchain\":{}", text(git), text(toolchain::version()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamped_record_is_still_one_object() {
        let stamp = Stamp(",\"accel\":\"tcg\"}".to_owned());
        let line = stamp.add("{\"seq\":0}\r", ",\"system\":\"corey\"");
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["system"], &value["accel"]), (&"corey".into(), &"tcg".into()));
    }
}
