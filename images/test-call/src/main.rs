//! The call table: wrong numbers, references and pointers are errors; quotas hold.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; tests touch mapped memory by address")]

use corey_abi::CORE_BY_NUMBER;
use corey_abi::{
    AddressTreeCalls, CoreStat, DeviceCalls, Error, Home, Id, Kinds, MachineCalls, MachineInfo, Name, ObjRef,
    ObjectCalls, PcoreCalls, SYSCALLS, SegmentCalls, ShareCalls, ShareEntry, UserPtr, core_mode,
};
use corey_libos_rt::sys::{address, address_mut, raw, segment, sys};
use corey_libos_rt::{Process, Status, entry};
use corey_libos_test::Suite;

entry!(main);

/// Addresses that no program may pass.
const HOSTILE: [u64; 10] = [
    0,
    1,
    0xfff,
    0x7fff_ffff_f000,
    0x7fff_ffff_ffff,
    0x8000_0000_0000,
    0xffff_8000_0000_0000,
    0xffff_ffff_8010_0000,
    u64::MAX - 7,
    u64::MAX,
];

fn main(process: Process) -> Status {
    let mut suite = Suite::new(&process, "call");
    numbers(&mut suite);
    references(&mut suite, &process);
    pointers(&mut suite, &process);
    quotas(&mut suite, &process);
    names(&mut suite, &process);
    machine(&mut suite, &process);
    extensions(&mut suite, &process);
    unsupported(&mut suite, &process);
    suite.finish()
}

fn numbers(suite: &mut Suite) {
    let known = |n: u64| SYSCALLS.iter().any(|row| row.number == n);
    let all = (0..0x200).chain([u64::MAX, 1 << 32, 1 << 63]).filter(|n| !known(*n));
    let wrong = all.filter(|n| raw(*n, [0; 6]) != Err(Error::BadSyscall)).count();
    suite.equal("a number without a row is BadSyscall", wrong, 0);
}

fn references(suite: &mut Suite, process: &Process) {
    let boot = process.boot;
    for (name, share, object) in [
        ("a null reference", Id::NULL, Id::NULL),
        ("a share nobody made", Id(0xdead_beef), Id(1)),
        ("an object the share does not name", boot, Id(0xdead_beef)),
        ("the largest identifier", Id(u64::MAX), Id(u64::MAX)),
    ] {
        suite.refused(name, sys().segment_get_nbytes(ObjRef { share, object }), Error::NotFound);
    }
    suite.refused("a pcore is no segment", sys().segment_get_nbytes(process.pcore), Error::WrongKind);
    let share = ObjRef { share: boot, object: boot };
    suite.refused("a share is no segment", sys().segment_get_nbytes(share), Error::WrongKind);
    suite.refused("a tree is no pcore", sys().pcore_halt(process.space.tree, 0), Error::WrongKind);
}

fn pointers(suite: &mut Suite, process: &Process) {
    let (boot, tree) = (process.boot, process.space.tree);
    let mut wrong = 0;
    for at in HOSTILE {
        let at = UserPtr(at);
        let answers = [
            sys().obj_get_name(process.pcore, at).err(),
            sys().share_alloc(boot, Kinds::all(), 0, 0, Home::Any, at).err(),
            sys().segment_alloc(boot, 4096, Home::Any, 0, at).err(),
            sys()
                .segment_copy(tree, boot, 0, Home::Any, at)
                .err()
                .map(|e| if e == Error::WrongKind { Error::BadAddress } else { e }),
            sys().at_alloc(boot, 0, 0, Home::Any, at).err(),
            sys().at_get(tree, at).err(),
            sys().at_set(tree, at).err(),
            sys().at_set_slot(tree, 500, at).err(),
            sys().pcore_alloc(boot, 0, at).err(),
            sys().pcore_run(process.pcore, at).err(),
            sys().device_list(0, at, 1).err(),
            sys().device_alloc(boot, 0, Home::Any, at).err(),
            sys().share_list(Id::NULL, 0, at, 1).err(),
            sys().machine_info(at).err(),
            sys().audit(boot, at).err(),
            sys().locality_get(0, at).err(),
        ];
        wrong += answers.iter().filter(|answer| **answer != Some(Error::BadAddress)).count();
    }
    suite.equal("a hostile address is BadAddress to every call that takes one", wrong, 0);
    let text = main as fn(Process) -> Status as usize as u64;
    suite.refused(
        "the kernel does not write where the program may not",
        sys().machine_info(UserPtr(text)),
        Error::BadAddress,
    );
}

fn quotas(suite: &mut Suite, process: &Process) {
    let name = Name::new("small");
    let at = address(&name);
    let Some(small) = suite.works(
        "a share with 10 pages and 2 objects",
        sys().share_alloc(process.boot, Kinds::all(), 10, 2, Home::Any, at),
    ) else {
        return;
    };
    suite.refused(
        "more pages than the quota",
        sys().segment_alloc(small, 10 * 4096, Home::Any, 0, at),
        Error::QuotaExceeded,
    );
    let one =
        suite.works("nine pages and their slots", sys().segment_alloc(small, 9 * 4096, Home::Any, 0, at));
    suite.refused("one page more", sys().segment_alloc(small, 4096, Home::Any, 0, at), Error::QuotaExceeded);
    if let Some(object) = one {
        let one = ObjRef { share: small, object };
        suite.refused(
            "growing beyond the quota",
            sys().segment_set_nbytes(one, 10 * 4096),
            Error::QuotaExceeded,
        );
        suite.works("giving it back", sys().share_delobj(one));
    }
    let first = suite.works("an object", sys().segment_alloc(small, 0, Home::Any, 0, at));
    suite.works("a second object", sys().segment_alloc(small, 0, Home::Any, 0, at));
    suite.refused("a third object", sys().segment_alloc(small, 0, Home::Any, 0, at), Error::QuotaExceeded);
    if let Some(object) = first {
        suite.works("one goes", sys().share_delobj(ObjRef { share: small, object }));
        suite.works("another fits", sys().segment_alloc(small, 0, Home::Any, 0, at));
    }
    suite.refused(
        "a child share larger than the parent",
        sys().share_alloc(small, Kinds::all(), 100, 0, Home::Any, at),
        Error::QuotaExceeded,
    );
    suite.refused(
        "too large a segment",
        sys().segment_alloc(process.boot, 1 << 50, Home::Any, 0, at),
        Error::OutOfRange,
    );
    suite.refused(
        "a core that does not exist",
        sys().segment_alloc(process.boot, 0, Home::Core(3000), 0, at),
        Error::NotFound,
    );
    let narrow = sys().share_alloc(process.boot, Kinds::SEGMENT, 10, 10, Home::Any, at);
    if let Some(narrow) = suite.works("a share for segments only", narrow) {
        suite.refused("it takes no tree", sys().at_alloc(narrow, 0, 0, Home::Any, at), Error::NotPermitted);
        suite.refused(
            "it takes no share",
            sys().share_alloc(narrow, Kinds::SEGMENT, 0, 0, Home::Any, at),
            Error::NotPermitted,
        );
        suite.works("dropped", sys().self_drop(narrow));
    }
    suite.works("dropped", sys().self_drop(small));
    suite.refused(
        "what is dropped is not held",
        sys().segment_alloc(small, 0, Home::Any, 0, at),
        Error::NotFound,
    );
}

fn names(suite: &mut Suite, process: &Process) {
    let Some(object) =
        suite.works("a named segment", segment(process.program, 0, "a name of thirty-one characters."))
    else {
        return;
    };
    let mut name = Name::new("");
    suite.works("its name", sys().obj_get_name(object, address_mut(&mut name)));
    suite.check(
        "a name is cut after 31 bytes",
        name.as_str() == "a name of thirty-one characters",
        name.as_str(),
    );
    let mut entries = [ShareEntry::default(); 20];
    let count = sys().share_list(Id::NULL, 0, address_mut(&mut entries), 20);
    let held = entries.iter().take(count.unwrap_or(0) as usize).any(|e| e.id == process.boot);
    suite.check("share_list shows the shares held", held, format_args!("{count:?}"));
}

fn machine(suite: &mut Suite, process: &Process) {
    let mut info = MachineInfo {
        cores: 0,
        tsc_hz: 0,
        pages: 0,
        hypervisor: 0,
        cpu: [0; 64],
        command_line_bytes: 0,
        reserved: [0; 3],
        command_line: [0; 1024],
    };
    suite.works("machine_info", sys().machine_info(address_mut(&mut info)));
    suite.equal("it knows as many cores as the boot information", info.cores, process.info.header.cores);
    suite.check("its clock is plausible", (10_000_000..100_000_000_000).contains(&info.tsc_hz), info.tsc_hz);
    suite.refused("a counter that does not exist", sys().counter_read(99), Error::BadArgument);
    let name = Name::new("x");
    if let Ok(share) = sys().share_alloc(process.boot, Kinds::all(), 0, 0, Home::Any, address(&name)) {
        suite.refused(
            "only the boot share is the key to the machine",
            sys().machine_control(share, 0, 0),
            Error::NotPermitted,
        );
        suite.works("dropped", sys().self_drop(share));
        suite.works("unnamed", sys().share_delobj(ObjRef { share: process.boot, object: share }));
    }
    suite.refused(
        "a control that does not exist",
        sys().machine_control(process.boot, 77, 0),
        Error::BadArgument,
    );
    suite.refused(
        "an exit status that does not exist",
        sys().machine_control(process.boot, 0, 9),
        Error::BadArgument,
    );
}

fn extensions(suite: &mut Suite, process: &Process) {
    let mut stat = core::mem::MaybeUninit::<CoreStat>::zeroed();
    let at = UserPtr(stat.as_mut_ptr() as u64);
    suite.works("core_stat of oneself", sys().core_stat(process.pcore, at));
    // SAFETY: all numbers: any bytes are valid, and the kernel wrote them.
    let stat = unsafe { stat.assume_init() };
    suite.equal("runs user code on core 0", (stat.core, stat.mode), (0, core_mode::USER));
    suite.check("holds the boot share", stat.shares.iter().any(|s| s.id == process.boot), stat.nshares);
    suite.check("counts system calls", stat.syscalls > 0, stat.syscalls);
    suite.refused("no pcore", sys().core_stat(ObjRef::default(), at), Error::NotFound);
    suite.refused("nowhere to write", sys().core_stat(process.pcore, UserPtr(8)), Error::BadAddress);
    suite.works("a fence on all holders", sys().core_fence(process.boot));
    let by_number = |core| ObjRef { share: process.boot, object: Id(CORE_BY_NUMBER | core) };
    suite.works("a core by its number", sys().core_stat(by_number(0), at));
    suite.refused("that does not exist", sys().core_stat(by_number(0xffff), at), Error::NotFound);
    suite.refused("nor can", sys().core_stat(by_number(1 << 40), at), Error::NotFound);
    suite.refused("of no share", sys().core_fence(Id(77)), Error::NotFound);
}

fn unsupported(suite: &mut Suite, process: &Process) {
    let answer = sys().pcore_add_device(process.pcore, process.pcore);
    suite.refused("pcore_add_device is not there yet, and says so", answer, Error::Unsupported);
}
