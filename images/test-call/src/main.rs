//! The call table: wrong numbers, references and pointers are errors; quotas hold.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; tests touch mapped memory by address")]

use corey_abi::{
    AddressTreeCalls, DeviceCalls, Error, Home, Id, Kinds, MachineCalls, Name, ObjRef, ObjectCalls,
    PcoreCalls, SYSCALLS, SegmentCalls, ShareCalls, UserPtr,
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
            sys().core_stat(process.pcore, at).err(),
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
}

fn unsupported(suite: &mut Suite, process: &Process) {
    let answer = sys().pcore_add_device(process.pcore, process.pcore);
    suite.refused("a pcore is no device", answer, Error::WrongKind);
}
