//! Source lines and inlined functions of our images.

use std::path::Path;

use addr2line::Loader;

use crate::build::Images;
use crate::{Result, paths};

/// Half the addresses, the upper, are the kernel's.
const KERNEL_HALF: u64 = 1 << 63;

/// Line tables of images.
pub(crate) struct Lines {
    kernel: Option<Loader>,
    programs: Vec<Loader>,
}

/// Source of ours that an instruction comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The innermost function of ours, without its type arguments.
    pub(crate) function: String,
    /// Whether that was inlined into another one.
    pub(crate) inlined: bool,
    /// The file, relative to the repository, and the line.
    pub(crate) at: String,
}

impl Place {
    /// The folder of its crate, below `crates` if it is there.
    pub(crate) fn folder(&self) -> &str {
        let folder = self.at.split_once("/src/").map_or(self.at.as_str(), |(folder, _)| folder);
        folder.strip_prefix("crates/").unwrap_or(folder)
    }
}

impl Lines {
    /// None: the symbol table alone names functions.
    pub(crate) fn none() -> Self {
        Self { kernel: None, programs: Vec::new() }
    }

    /// Those of our images.
    pub(crate) fn of(images: &Images) -> Result<Self> {
        let load = |path| Loader::new(path).map_err(|e| format!("line tables: {e}").into());
        let programs = images.programs.iter().map(|program| load(&program.elf)).collect::<Result<_>>()?;
        Ok(Self { kernel: Some(load(&images.kernel)?), programs })
    }

    /// Where the instruction at `address` comes from: what `core` does is done for its caller.
    pub(crate) fn place(&self, address: u64) -> Option<Place> {
        if address >= KERNEL_HALF {
            return place(self.kernel.as_ref()?, address);
        }
        self.programs.iter().find_map(|loader| place(loader, address))
    }
}

fn place(loader: &Loader, address: u64) -> Option<Place> {
    let mut frames = loader.find_frames(address).ok()?;
    // From the innermost on.
    while let Some(frame) = frames.next().ok()? {
        let location = frame.location.as_ref()?;
        let file = Path::new(location.file?);
        if let Ok(file) = file.strip_prefix(paths::root()) {
            let name = frame.function?.demangle().ok()?.into_owned();
            let at = format!("{}:{}", file.display(), location.line.unwrap_or(0));
            return Some(Place {
                function: short(&name).to_owned(),
                inlined: frames.next().ok()?.is_some(),
                at,
            });
        }
    }
    None
}

/// A name without its type arguments.
fn short(name: &str) -> &str {
    name.split('<').next().filter(|short| !short.is_empty()).unwrap_or(name)
}
