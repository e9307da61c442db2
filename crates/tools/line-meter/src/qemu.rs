//! The part of QEMU's plugin interface, version 1, that the meter uses.

use std::ffi::{c_char, c_int, c_uint, c_void};

/// A plugin's own number.
pub type PluginId = u64;
/// Describes an access; passed back to queries.
pub(crate) type MemInfo = u32;

/// A translation block; QEMU's.
#[repr(C)]
pub(crate) struct Block(u8);
/// An instruction under translation; QEMU's.
#[repr(C)]
pub(crate) struct Insn(u8);
/// A physical address; QEMU's, valid until the next query of this thread.
#[repr(C)]
pub(crate) struct HwAddr(u8);

/// What QEMU says of itself at installation.
#[repr(C)]
#[derive(Debug)]
pub struct Info {
    pub(crate) target_name: *const c_char,
    pub(crate) version_min: c_int,
    pub(crate) version_current: c_int,
    pub(crate) system_emulation: bool,
    pub(crate) smp_vcpus: c_int,
    pub(crate) max_vcpus: c_int,
}

/// A callback reads and writes no registers.
pub(crate) const NO_REGISTERS: c_int = 0;
/// Reads and writes.
pub(crate) const MEMORY_READ_WRITE: c_int = 3;

pub(crate) type TranslateCallback = extern "C" fn(PluginId, *mut Block);
pub(crate) type ExecuteCallback = extern "C" fn(c_uint, *mut c_void);
pub(crate) type MemoryCallback = extern "C" fn(c_uint, MemInfo, u64, *mut c_void);
pub(crate) type ExitCallback = extern "C" fn(PluginId, *mut c_void);

unsafe extern "C" {
    pub(crate) fn qemu_plugin_register_vcpu_tb_trans_cb(id: PluginId, cb: TranslateCallback);
    pub(crate) fn qemu_plugin_register_atexit_cb(id: PluginId, cb: ExitCallback, data: *mut c_void);
    pub(crate) fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    pub(crate) fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Insn;
    pub(crate) fn qemu_plugin_insn_data(insn: *const Insn) -> *const c_void;
    pub(crate) fn qemu_plugin_insn_size(insn: *const Insn) -> usize;
    pub(crate) fn qemu_plugin_insn_vaddr(insn: *const Insn) -> u64;
    pub(crate) fn qemu_plugin_register_vcpu_insn_exec_cb(
        insn: *mut Insn,
        cb: ExecuteCallback,
        flags: c_int,
        data: *mut c_void,
    );
    pub(crate) fn qemu_plugin_register_vcpu_mem_cb(
        insn: *mut Insn,
        cb: MemoryCallback,
        flags: c_int,
        which: c_int,
        data: *mut c_void,
    );
    pub(crate) fn qemu_plugin_mem_size_shift(info: MemInfo) -> c_uint;
    pub(crate) fn qemu_plugin_mem_is_store(info: MemInfo) -> bool;
    pub(crate) fn qemu_plugin_get_hwaddr(info: MemInfo, vaddr: u64) -> *mut HwAddr;
    pub(crate) fn qemu_plugin_hwaddr_is_io(address: *const HwAddr) -> bool;
    pub(crate) fn qemu_plugin_hwaddr_phys_addr(address: *const HwAddr) -> u64;
}
