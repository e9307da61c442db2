//! The plugin itself: QEMU's callbacks to [`Meter`] calls.
//!
//! `-plugin PATH,out=FILE[,hot=N][,profile=on][,lines=on]`: JSON lines to FILE, the N hottest pairs of each report (40),
//! with a profile how often each instruction was executed, with lines what operations have in common.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

use crate::decode::decode;
use crate::directory::{Access, LINE_SHIFT, MAX_CPUS};
use crate::meter::{Code, Meter, Target};
use crate::{qemu, report};

/// The interface version this was written for; QEMU looks the symbol up.
// SAFETY: the name is QEMU's for exactly this value.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = 1;

/// Whether a region is on: read by every callback before anything else.
static ON: AtomicBool = AtomicBool::new(false);
static STATE: OnceLock<Mutex<State>> = OnceLock::new();

struct State {
    meter: Meter,
    out: File,
    most: usize,
    reports: u64,
    /// Every instruction ever translated, kept for ever because translated code points to it.
    code: HashMap<(u64, Vec<u8>), &'static Code>,
}

fn state() -> MutexGuard<'static, State> {
    let state = STATE.get().expect("callbacks are registered after the state is made");
    state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Called by QEMU once, with the words after `-plugin PATH,`.
///
/// # Safety
///
/// `info` and the `argc` strings of `argv` are valid during the call.
// SAFETY: the name and signature are those QEMU calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: qemu::PluginId,
    info: *const qemu::Info,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    // SAFETY: the caller keeps it valid.
    let info = unsafe { &*info };
    let pointers: &[*const c_char] = match argc {
        0 => &[],
        // SAFETY: the caller passes `argc` pointers.
        _ => unsafe { std::slice::from_raw_parts(argv, argc as usize) },
    };
    let words = pointers.iter().map(|&word| {
        // SAFETY: the caller passes zero-terminated strings.
        unsafe { CStr::from_ptr(word) }.to_string_lossy().into_owned()
    });
    match install(info, words) {
        Ok(state) => {
            let _ = STATE.set(Mutex::new(state));
        }
        Err(text) => {
            eprintln!("line-meter: {text}");
            return 1;
        }
    }
    // SAFETY: `id` is this plugin's; the callback lives as long as the library.
    unsafe { qemu::qemu_plugin_register_vcpu_tb_trans_cb(id, translate) };
    // SAFETY: as above.
    unsafe { qemu::qemu_plugin_register_atexit_cb(id, exit, std::ptr::null_mut()) };
    0
}

fn install(info: &qemu::Info, words: impl Iterator<Item = String>) -> Result<State, String> {
    if !info.system_emulation || info.max_vcpus as usize > MAX_CPUS {
        return Err(format!("wants a whole machine with at most {MAX_CPUS} processors"));
    }
    let (mut out, mut most, mut meter) = (None, 40, Meter::default());
    for word in words {
        match word.split_once('=') {
            Some(("out", path)) => {
                out = Some(File::create(path).map_err(|error| format!("{path}: {error}"))?);
            }
            Some(("hot", n)) => most = n.parse().map_err(|_| format!("hot={n}: want a number"))?,
            Some(("profile", "on")) => meter = meter.with_profile(),
            Some(("lines", "on")) => meter = meter.with_lines(),
            _ => return Err(format!("{word}: unknown word; valid: out=FILE hot=N profile=on lines=on")),
        }
    }
    let out = out.ok_or("out=FILE is missing")?;
    Ok(State { meter, out, most, reports: 0, code: HashMap::new() })
}

extern "C" fn translate(_: qemu::PluginId, block: *mut qemu::Block) {
    let mut state = state();
    // SAFETY: QEMU passes a block that is valid during this call.
    let count = unsafe { qemu::qemu_plugin_tb_n_insns(block) };
    for index in 0..count {
        // SAFETY: `index` is below the number of instructions.
        let insn = unsafe { qemu::qemu_plugin_tb_get_insn(block, index) };
        // SAFETY: `insn` is valid as long as the block is.
        let pc = unsafe { qemu::qemu_plugin_insn_vaddr(insn) };
        // SAFETY: as above.
        let size = unsafe { qemu::qemu_plugin_insn_size(insn) };
        // SAFETY: as above.
        let data = unsafe { qemu::qemu_plugin_insn_data(insn) };
        // SAFETY: QEMU gives `size` bytes at `data`, valid during this call.
        let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), size) };
        let code = *state
            .code
            .entry((pc, bytes.to_vec()))
            .or_insert_with(|| Box::leak(Box::new(Code { pc, instruction: decode(bytes) })));
        let data = std::ptr::from_ref(code).cast_mut().cast::<c_void>();
        let callback = if code.instruction.marker.is_some() { marker } else { execute };
        // SAFETY: the callback and the leaked `Code` live as long as translated code.
        unsafe {
            qemu::qemu_plugin_register_vcpu_insn_exec_cb(insn, callback, qemu::NO_REGISTERS, data);
        }
        // SAFETY: as above.
        unsafe {
            qemu::qemu_plugin_register_vcpu_mem_cb(
                insn,
                access,
                qemu::NO_REGISTERS,
                qemu::MEMORY_READ_WRITE,
                data,
            );
        }
    }
}

fn code(data: *mut c_void) -> &'static Code {
    // SAFETY: `translate` registers leaked `Code` only.
    unsafe { &*data.cast::<Code>() }
}

extern "C" fn marker(cpu: c_uint, data: *mut c_void) {
    let Some((id, kind)) = code(data).instruction.marker else {
        return;
    };
    let mut state = state();
    if let Some(figures) = state.meter.marker(cpu as usize, id, kind) {
        let text = report::lines(state.reports, id, &figures, state.most);
        state.reports += 1;
        if let Err(error) = state.out.write_all(text.as_bytes()) {
            eprintln!("line-meter: cannot write the report: {error}");
        }
    }
    ON.store(state.meter.is_on(), Ordering::Relaxed);
}

extern "C" fn execute(cpu: c_uint, data: *mut c_void) {
    if ON.load(Ordering::Relaxed) {
        state().meter.execute(cpu as usize, code(data));
    }
}

extern "C" fn access(cpu: c_uint, info: qemu::MemInfo, vaddr: u64, data: *mut c_void) {
    if !ON.load(Ordering::Relaxed) {
        return;
    }
    // SAFETY: `info` is the one of this access, as in the calls below.
    let size = 1_u64 << unsafe { qemu::qemu_plugin_mem_size_shift(info) };
    // SAFETY: as above.
    let kind = if unsafe { qemu::qemu_plugin_mem_is_store(info) } { Access::Write } else { Access::Read };
    let Some(first) = target(info, vaddr) else {
        return;
    };
    let (code, cpu) = (code(data), cpu as usize);
    let mut state = state();
    state.meter.access(cpu, code, vaddr, first, kind);
    let last = vaddr + size - 1;
    if matches!(first, Target::Memory(_)) && vaddr >> LINE_SHIFT != last >> LINE_SHIFT {
        let second = last >> LINE_SHIFT << LINE_SHIFT;
        if let Some(target) = target(info, second) {
            state.meter.access(cpu, code, second, target, kind);
        }
    }
}

fn target(info: qemu::MemInfo, vaddr: u64) -> Option<Target> {
    // SAFETY: called from within the callback of this access, as the interface asks.
    let address = unsafe { qemu::qemu_plugin_get_hwaddr(info, vaddr) };
    if address.is_null() {
        return None;
    }
    // SAFETY: not null, and no other query was made since.
    let physical = unsafe { qemu::qemu_plugin_hwaddr_phys_addr(address) };
    // SAFETY: as above.
    let device = unsafe { qemu::qemu_plugin_hwaddr_is_io(address) };
    Some(if device { Target::Device(physical) } else { Target::Memory(physical) })
}

extern "C" fn exit(_: qemu::PluginId, _: *mut c_void) {
    ON.store(false, Ordering::Relaxed);
    if let Err(error) = state().out.sync_all() {
        eprintln!("line-meter: {error}");
    }
}
