//! Child processes: none outlives xtask, and a failure shows what the child said.

use std::io::IsTerminal;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::Result;

/// Set by Ctrl-C and SIGTERM; every waiting loop looks at it.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Installs the Ctrl-C handler. Waiting loops then end, and their children with them.
pub(crate) fn watch_interrupts() -> Result<()> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::SeqCst))?;
    Ok(())
}

/// Whether the user asked to stop.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Whether `name` is an executable on the search path.
pub(crate) fn on_path(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|d| d.join(name).is_file()))
}

/// A command that dies with xtask even when xtask is killed: `setpriv` (util-linux) sets the
/// parent-death signal and then becomes the program.
pub(crate) fn tied(program: &str) -> Command {
    if on_path("setpriv") {
        let mut c = Command::new("setpriv");
        c.args(["--pdeathsig", "KILL", program]);
        c
    } else {
        Command::new(program)
    }
}

/// A child that is killed when this value is dropped.
pub(crate) struct Owned(pub(crate) Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `command` with its output shown; an exit status other than 0 is an error.
pub(crate) fn show(command: &mut Command) -> Result<()> {
    let mut child = Owned(command.stdin(Stdio::null()).spawn().map_err(|e| cannot(command, &e))?);
    let status = loop {
        if let Some(status) = child.0.try_wait()? {
            break status;
        }
        if interrupted() {
            return Err("interrupted".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    if status.success() { Ok(()) } else { Err(format!("{} failed: {status}", line(command)).into()) }
}

/// Runs `command` silently, with a spinner titled `title` on a terminal. Its output is shown only
/// when it fails; otherwise its standard output is returned.
pub(crate) fn quiet(title: &str, command: &mut Command) -> Result<String> {
    let spinner = (std::io::stderr().is_terminal() && !title.is_empty()).then(|| {
        let bar = indicatif::ProgressBar::new_spinner().with_message(title.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    });
    if spinner.is_none() && !title.is_empty() {
        eprintln!("{title}");
    }
    let out = command.stdin(Stdio::null()).output().map_err(|e| cannot(command, &e))?;
    if let Some(bar) = spinner {
        bar.finish_and_clear();
        eprintln!("{title}");
    }
    if interrupted() {
        return Err("interrupted".into());
    }
    if !out.status.success() {
        return Err(format!(
            "{} failed: {}\n{}{}",
            line(command),
            out.status,
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        )
        .into());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted = words.map(|w| {
        let w = w.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:+@%".contains(c);
        if !w.is_empty() && w.chars().all(plain) { w.into_owned() } else { format!("'{w}'") }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

fn cannot(command: &Command, e: &std::io::Error) -> String {
    let program = Path::new(command.get_program()).display().to_string();
    format!("cannot start {program}: {e}")
}
