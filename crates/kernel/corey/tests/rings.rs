//! Kernel cores: calls over rings, and cards that are polled.

mod common;

use common::*;
use corey_abi::{
    CORE_BY_NUMBER, Client, CoreStat, DeviceCalls, Error, Home, Id, MachineCalls, Name, ObjRef, ObjectCalls,
    PcoreCalls, RING_ARGUMENTS, RingConfig, RunContext, SYSCALL_DEVICE, SegmentCalls, ShareCalls, Transport,
    UserPtr, buffer_op, core_mode, run_mode,
};
use corey_kernel_hal::CoreId;
use corey_lib_ring::{Env, Shape, Submitter, Words};
use corey_lib_sync::Relax;
use corey_test_hal_host::{Booted, User};
use corey_test_plugged::LINE;
use std::cell::RefCell;

const SLOTS: u32 = 16;
/// Where the program has its ring, and its arguments.
const RING: u64 = VA;
const ARGUMENTS: u64 = VA + GIB;
const ARGUMENT_PAGES: u64 = 2;

/// A program that has a ring.
struct Program<'a, 'u>(RefCell<&'a mut User<'u>>);

impl Words for &Program<'_, '_> {
    fn load(&self, index: usize) -> u64 {
        self.0.borrow_mut().read(RING + 8 * index as u64).expect("the ring is mapped")
    }
    fn store(&self, index: usize, word: u64) {
        self.0.borrow_mut().write(RING + 8 * index as u64, word).expect("the ring is mapped");
    }
}

/// What it does besides; the doorbell is its device's.
struct Bell<'a, 'u>(&'a Program<'a, 'u>, ObjRef, u32);

impl Relax for Bell<'_, '_> {
    fn relax(&mut self) {
        self.0.0.borrow_mut().interrupts();
        std::thread::yield_now();
    }
}

impl Env for Bell<'_, '_> {
    fn ring(&mut self) {
        self.2 += 1;
        let none = ObjRef::default();
        self.0.0.borrow_mut().sys().device_buf(self.1, buffer_op::POLL, none, 0).expect("a doorbell");
    }
}

/// What the first program has made.
#[derive(Clone, Copy, Debug)]
struct Made {
    boot: Id,
    /// The kernel core's share, and its pcore.
    share: Id,
    pcore: ObjRef,
    /// The ring's share, its device, and its segments.
    names: Id,
    device: ObjRef,
    ring: ObjRef,
    arguments: ObjRef,
}

fn syscall_device(user: &mut User<'_>, share: Id) -> ObjRef {
    let at = name(user, "calls");
    let object = user.sys().device_alloc(share, SYSCALL_DEVICE, Home::Any, at).unwrap();
    ObjRef { share, object }
}

/// A kernel core to be, on core 1, with a system-call device that has no ring.
fn make(user: &mut User<'_>) -> Made {
    let first = start(user);
    let kernel = share(user, first.boot, 0, 20).unwrap();
    let at = name(user, "kernel core");
    let pcore = ObjRef { share: kernel, object: user.sys().pcore_alloc(kernel, 1, at).unwrap() };
    let names = share(user, first.boot, 200, 50).unwrap();
    let (ring, arguments) =
        (segment(user, first.boot, 1).unwrap(), segment(user, first.boot, ARGUMENT_PAGES).unwrap());
    map(user, first.tree, 100, ring, RING, 1).unwrap();
    map(user, first.tree, 101, arguments, ARGUMENTS, ARGUMENT_PAGES).unwrap();
    let device = syscall_device(user, first.boot);
    user.sys().pcore_add_device(pcore, device).unwrap();
    Made { boot: first.boot, share: kernel, pcore, names, device, ring, arguments }
}

/// Gives the device its ring, with `more` shares.
fn configure(user: &mut User<'_>, made: &Made, more: &[Id]) -> Result<(), Error> {
    let mut config = RingConfig {
        ring: made.ring,
        slots: u64::from(SLOTS),
        arguments: made.arguments,
        nshares: 1 + more.len() as u64,
        ..RingConfig::default()
    };
    config.shares.iter_mut().zip([made.names].iter().chain(more)).for_each(|(to, from)| *to = *from);
    (0..512).for_each(|at| user.write(RING + 8 * at, 0).unwrap());
    let at = put(user, &config);
    user.sys().device_conf(made.device, at)
}

fn run_kernel_core(user: &mut User<'_>, made: &Made) -> Result<(), Error> {
    let mut context = RunContext { mode: run_mode::KERNEL_CORE, nshares: 1, ..RunContext::default() };
    context.shares[0] = made.share;
    let at = put(user, &context);
    user.sys().pcore_run(made.pcore, at)
}

/// What `calls` does with a ring that is served on core 1.
fn over_a_ring(
    booted: &Booted,
    calls: impl FnOnce(Made, &mut Submitter<&Program<'_, '_>, Bell<'_, '_>>) + Send + 'static,
) {
    booted.on(0, move |user| {
        let made = make(user);
        configure(user, &made, &[]).unwrap();
        run_kernel_core(user, &made).unwrap();
        with(user, &made, |ring| calls(made, ring));
        user.sys().pcore_halt(made.pcore, 0).unwrap();
        put_away(user, &made);
    });
    audit(booted);
}

/// What `calls` does with the ring.
fn with(
    user: &mut User<'_>,
    made: &Made,
    calls: impl FnOnce(&mut Submitter<&Program<'_, '_>, Bell<'_, '_>>),
) {
    let program = Program(RefCell::new(user));
    let shape = Shape::new(SLOTS).unwrap();
    calls(&mut Submitter::new(&program, shape, Bell(&program, made.device, 0)));
}

/// Ends all that [`make`] made.
fn put_away(user: &mut User<'_>, made: &Made) {
    put_away_rest(user, made);
    end(user, made.boot, made.share);
}

/// As [`put_away`], when the kernel core's share has ended.
fn put_away_rest(user: &mut User<'_>, made: &Made) {
    for (slot, segment) in [(100, made.ring), (101, made.arguments)] {
        let first = start(user);
        clear(user, first.tree, slot).unwrap();
        user.sys().share_delobj(segment).unwrap();
    }
    user.sys().share_delobj(made.device).unwrap();
    end(user, made.boot, made.names);
}

/// An argument, as a call names it, and as the program does.
fn argument(offset: u64) -> (UserPtr, u64) {
    (UserPtr(RING_ARGUMENTS + offset), ARGUMENTS + offset)
}

fn name_at(ring: &mut Submitter<&Program<'_, '_>, Bell<'_, '_>>, offset: u64, text: &str) -> UserPtr {
    let (at, address) = argument(offset);
    let name = Name::new(text).0;
    let words: Vec<u64> = name.chunks(8).map(|c| u64::from_le_bytes(c.try_into().unwrap())).collect();
    ring.env().0.0.borrow_mut().write_all(address, &words).unwrap();
    at
}

#[test]
fn calls_over_a_ring_are_made_in_its_name() {
    let booted = boot(2);
    over_a_ring(&booted, |made, ring| {
        let at = name_at(ring, 4096 - 16, "over a page's end");
        let object = Client(&mut *ring).segment_alloc(made.names, 3 * 4096, Home::Any, 0, at).unwrap();
        let segment = ObjRef { share: made.names, object };
        assert_eq!(Client(&mut *ring).segment_get_nbytes(segment), Ok(3 * 4096));
        let (to, address) = argument(256);
        Client(&mut *ring).obj_get_name(segment, to).unwrap();
        assert_eq!(ring.env().0.0.borrow_mut().read(address), Ok(u64::from_le_bytes(*b"over a p")));
        // What the program holds is not the ring's.
        assert_eq!(Client(&mut *ring).segment_get_nbytes(made.ring), Err(Error::NotFound));
        assert_eq!(
            Client(&mut *ring).share_addobj(made.boot, segment),
            Err(Error::NotFound),
            "the boot share"
        );
        let held = Client(&mut *ring).share_list(Id::NULL, 0, to, 4);
        assert_eq!((held, ring.env().0.0.borrow_mut().read(address)), (Ok(1), Ok(made.names.0)));
        // Addresses of the program's, and of nobody.
        for bad in [address, 0x10, RING_ARGUMENTS - 8, RING_ARGUMENTS + 8192 - 31, RING_ARGUMENTS + (1 << 40)]
        {
            assert_eq!(
                Client(&mut *ring).obj_get_name(segment, UserPtr(bad)),
                Err(Error::BadAddress),
                "{bad:#x}"
            );
        }
        assert_eq!((&mut *ring).call::<0>(0x999, [0; 6]), Err(Error::BadSyscall));
        assert_eq!(Client(&mut *ring).share_delobj(segment), Ok(()));
        assert_eq!(Client(&mut *ring).segment_get_nbytes(segment), Err(Error::NotFound));
    });
}

#[test]
fn a_kernel_core_is_not_its_rings() {
    let booted = boot(2);
    over_a_ring(&booted, |made, ring| {
        let pcore = ring
            .env()
            .0
            .0
            .borrow_mut()
            .sys()
            .share_addobj(made.names, made.pcore)
            .map(|()| ObjRef { share: made.names, object: made.pcore.object });
        let pcore = pcore.unwrap();
        assert_eq!(Client(&mut *ring).pcore_current(), Ok(made.pcore));
        assert_eq!(Client(&mut *ring).pcore_halt(pcore, 0), Err(Error::NotPermitted));
        assert_eq!(Client(&mut *ring).pcore_set_interval(pcore, 0), Err(Error::NotPermitted));
        // All zeroes but the mode: a good run of a kernel core.
        let (at, address) = argument(0);
        ring.env().0.0.borrow_mut().write(address + 16, run_mode::KERNEL_CORE).unwrap();
        assert_eq!(Client(&mut *ring).pcore_run(pcore, at), Err(Error::NotPermitted));
        let none = ObjRef::default();
        assert_eq!(Client(&mut *ring).core_wait(none, 0, 0, 0), Err(Error::Unsupported));
        // Nor from outside.
        let own = ring.env().0.0.borrow_mut().sys().pcore_set_interval(made.pcore, 1_000_000);
        assert_eq!(own, Err(Error::NotPermitted));
    });
}

#[test]
fn what_a_ring_drops_and_makes_is_its_own() {
    let booted = boot(2);
    over_a_ring(&booted, |made, ring| {
        let at = name_at(ring, 0, "inner");
        let inner = Client(&mut *ring)
            .share_alloc(made.names, corey_abi::Kinds::all(), 20, 5, Home::Any, at)
            .unwrap();
        let object = Client(&mut *ring).segment_alloc(inner, 4096, Home::Any, 0, at).unwrap();
        assert_eq!(Client(&mut *ring).self_drop(made.names), Ok(()));
        assert_eq!(Client(&mut *ring).self_drop(made.names), Err(Error::NotFound));
        let segment = ObjRef { share: inner, object };
        assert_eq!(Client(&mut *ring).segment_get_nbytes(segment), Ok(4096), "it is still held");
        // Calls behind one that dropped something are made as well.
        for _ in 0..3 {
            ring.submit::<1>(corey_abi::number::self_drop, [inner.0, 0, 0, 0, 0, 0]).unwrap();
        }
        ring.flush();
        let mut results = Vec::new();
        while results.len() < 3 {
            match ring.poll() {
                Some((_, result)) => results.push(result),
                None => ring.env().relax(),
            }
        }
        assert_eq!(results, [Ok([0, 0]), Err(Error::NotFound), Err(Error::NotFound)]);
    });
}

#[test]
fn a_share_that_run_and_ring_have_is_held_once() {
    let booted = boot(2);
    booted.on(0, |user| {
        let made = make(user);
        configure(user, &made, &[made.share]).unwrap();
        run_kernel_core(user, &made).unwrap();
        with(user, &made, |ring| {
            assert_eq!(Client(&mut *ring).self_drop(made.share), Ok(()));
            assert_eq!(Client(&mut *ring).pcore_current(), Ok(made.pcore), "the run has it, too");
        });
    });
    audit(&booted);
    // Its last holders go while it is served: it ends, and is not in anybody's way.
    booted.on(0, |user| {
        let first = start(user);
        let held = |user: &mut User<'_>| {
            let at = put(user, &[0_u64; 8]);
            user.sys().share_list(Id::NULL, 0, at, 4).unwrap()
        };
        assert_eq!(held(user), 3, "boot, kernel core, names");
        let _ = first;
    });
}

#[test]
fn a_ring_ends_with_its_kernel_core_and_the_next_serves_another() {
    let booted = boot(2);
    booted.on(0, |user| {
        let made = make(user);
        for round in 0..3 {
            configure(user, &made, &[]).unwrap();
            assert_eq!(configure(user, &made, &[]), Err(Error::Busy));
            (0..512).for_each(|at| user.write(RING + 8 * at, 0).unwrap());
            run_kernel_core(user, &made).unwrap();
            with(user, &made, |ring| {
                assert_eq!(Client(&mut *ring).pcore_current(), Ok(made.pcore), "{round}");
                assert_eq!(ring.env().0.0.borrow_mut().sys().pcore_halt(made.pcore, 3), Ok(()));
                assert_eq!(Client(&mut *ring).pcore_current(), Err(Error::DeviceFailed));
                assert_eq!(Client(&mut *ring).pcore_current(), Err(Error::DeviceFailed), "and so on");
            });
        }
        put_away(user, &made);
    });
    audit(&booted);
}

#[test]
fn a_ring_that_comes_while_the_kernel_core_runs_is_served() {
    let booted = boot(2);
    booted.on(0, |user| {
        let made = make(user);
        run_kernel_core(user, &made).unwrap();
        configure(user, &made, &[]).unwrap();
        with(user, &made, |ring| assert_eq!(Client(&mut *ring).pcore_current(), Ok(made.pcore)));
        // Another device, too.
        let second = syscall_device(user, made.boot);
        user.sys().pcore_add_device(made.pcore, second).unwrap();
        assert_eq!(user.sys().pcore_add_device(made.pcore, second), Err(Error::Exists));
        user.sys().share_delobj(second).unwrap();
        with_stat(user, made.pcore, |stat| assert_eq!(stat.mode, core_mode::KERNEL_CORE));
        user.sys().pcore_halt(made.pcore, 0).unwrap();
        put_away(user, &made);
    });
    audit(&booted);
}

/// Where the packets of [`with_card`] are.
const PACKETS: u64 = VA + 2 * GIB;

/// A kernel core that runs and has a card: what was made, the card, and `pages` packets for it.
fn with_card(user: &mut User<'_>, pages: u64) -> (Made, ObjRef, ObjRef) {
    let made = make(user);
    let at = name(user, "card");
    let object = user.sys().device_alloc(made.names, 1, Home::Any, at).unwrap();
    let device = ObjRef { share: made.names, object };
    user.sys().pcore_add_device(made.pcore, device).unwrap();
    configure(user, &made, &[]).unwrap();
    run_kernel_core(user, &made).unwrap();
    let packets = segment(user, made.names, pages).unwrap();
    let first = start(user);
    map(user, first.tree, 102, packets, PACKETS, pages).unwrap();
    (made, device, packets)
}

/// A frame that comes while the kernel core sleeps interrupts it; a reset meanwhile changes nothing, and its end closes the line.
#[test]
fn a_frame_wakes_a_kernel_core() {
    let (booted, card, _) = boot_plugged(2);
    let (made, device, packets) = booted.on(0, |user| {
        let (made, device, packets) = with_card(user, 1);
        (made, device, packets)
    });
    let asleep = || {
        while booted.machine().line(LINE) != Some(CoreId(1)) {
            std::thread::yield_now();
        }
    };
    let mut frames = 0;
    for reset in [false, true] {
        let mut interrupts = [0; 2];
        // One may find it awake: this fake's sleeps are short.
        for _ in 0..200 {
            booted.on(0, move |user| {
                if reset {
                    user.sys().device_buf(device, buffer_op::RESET, ObjRef::default(), 0).unwrap();
                }
                user.write(PACKETS, 1).unwrap();
                user.sys().device_buf(device, buffer_op::IN, packets, 0).unwrap();
            });
            asleep();
            let _ = card.deliver(&[0xff; 100]);
            card.settle();
            frames += 1;
            let [before, after] = &mut interrupts;
            *before = (*before).max(*after);
            *after = booted.on(0, move |user| {
                while user.read(PACKETS).unwrap() & 1 == 1 {
                    user.interrupts();
                    std::thread::yield_now();
                }
                let mut count = 0;
                with_stat(user, made.pcore, |stat| count = stat.interrupts);
                count
            });
            assert!(*after <= 2 * frames, "{after} interrupts for {frames} frames");
            if *after > *before && *before > 0 {
                break;
            }
        }
        assert!(interrupts[1] > interrupts[0], "no frame interrupted it, reset: {reset}");
    }
    booted.on(0, move |user| {
        let first = start(user);
        clear(user, first.tree, 102).unwrap();
        user.sys().share_delobj(packets).unwrap();
        user.sys().pcore_halt(made.pcore, 0).unwrap();
        put_away(user, &made);
    });
    assert_eq!(booted.machine().line(LINE), None, "closed");
    assert!(!card.interrupts(), "the card is stopped");
    audit(&booted);
}

fn with_stat(user: &mut User<'_>, pcore: ObjRef, look: impl FnOnce(CoreStat)) {
    let at = put(user, &[0_u64; 200]);
    user.sys().core_stat(pcore, at).unwrap();
    look(take::<CoreStat>(user));
}

#[test]
fn nonsense_in_a_ring_ends_it_and_nothing_else() {
    let booted = boot(2);
    booted.on(0, |user| {
        let made = make(user);
        configure(user, &made, &[]).unwrap();
        run_kernel_core(user, &made).unwrap();
        // A request of two units whose first word has bits that only those of one have.
        user.write(RING + 128, 1 | 1 << 1 | 1 << 60).unwrap();
        with(user, &made, |ring| {
            while ring.env().0.0.borrow_mut().read(RING + 8) == Ok(0) {
                ring.env().relax();
            }
            assert_eq!(Client(&mut *ring).pcore_current(), Err(Error::BadArgument));
        });
        // The kernel core goes on, with the next ring: when this one's end is through.
        while configure(user, &made, &[]) == Err(Error::Busy) {
            std::thread::yield_now();
        }
        with(user, &made, |ring| assert_eq!(Client(&mut *ring).pcore_current(), Ok(made.pcore)));
        user.sys().pcore_halt(made.pcore, 0).unwrap();
        put_away(user, &made);
    });
    audit(&booted);
}

#[test]
fn a_ring_ends_with_its_segment_and_with_its_device() {
    let booted = boot(2);
    for device_first in [false, true] {
        booted.on(0, move |user| {
            let made = make(user);
            configure(user, &made, &[]).unwrap();
            run_kernel_core(user, &made).unwrap();
            with(user, &made, |ring| assert_eq!(Client(&mut *ring).pcore_current(), Ok(made.pcore)));
            assert_eq!(user.sys().segment_set_nbytes(made.ring, 0), Err(Error::Busy), "its page is pinned");
            let first = start(user);
            if device_first {
                user.sys().share_delobj(made.device).unwrap();
                while user.sys().segment_set_nbytes(made.ring, 0) == Err(Error::Busy) {
                    std::thread::yield_now();
                }
            }
            clear(user, first.tree, 100).unwrap();
            clear(user, first.tree, 101).unwrap();
            user.sys().share_delobj(made.ring).unwrap();
            user.sys().share_delobj(made.arguments).unwrap();
            if !device_first {
                // It goes on as a kernel core without a ring.
                with_stat(user, made.pcore, |stat| assert_eq!(stat.mode, core_mode::KERNEL_CORE));
                user.sys().share_delobj(made.device).unwrap();
            }
            user.sys().pcore_halt(made.pcore, 0).unwrap();
            end(user, made.boot, made.names);
            end(user, made.boot, made.share);
        });
        audit(&booted);
    }
}

#[test]
fn who_submits_wakes_a_kernel_core_that_sleeps() {
    let booted = boot(2);
    over_a_ring(&booted, |made, ring| {
        for _ in 0..20 {
            // Armed: the kernel core's own word is odd.
            while ring.env().0.0.borrow_mut().read(RING).unwrap() & 1 == 0 {
                ring.env().relax();
            }
            assert_eq!(Client(&mut *ring).pcore_current(), Ok(made.pcore));
        }
        assert!(ring.env().2 >= 19, "rung {} times", ring.env().2);
    });
}

#[test]
fn a_program_becomes_a_kernel_core() {
    let booted = boot(2);
    let made = booted.on(0, |user| {
        let made = make(user);
        let (first, thread) = (start(user), thread(user, made.boot, 1));
        assert!(thread.is_err(), "the kernel core has it");
        user.sys().share_delobj(made.pcore).unwrap();
        let thread = self::thread(user, first.boot, 1).unwrap();
        run(user, thread, &[]).unwrap();
        user.sys().pcore_add_device(thread.pcore, made.device).unwrap();
        configure(user, &made, &[]).unwrap();
        (made, thread)
    });
    let becomes = move |user: &mut User<'_>| {
        let (_, thread) = made;
        let mut context = RunContext { mode: run_mode::KERNEL_CORE, nshares: 1, ..RunContext::default() };
        context.shares[0] = thread.share;
        let at = put(user, &context);
        // Comes back when the kernel core is halted.
        let _ = user.sys().pcore_run(thread.pcore, at);
        assert!(user.has_left());
    };
    std::thread::scope(|scope| {
        scope.spawn(|| booted.on(1, becomes));
        booted.on(0, move |user| {
            let (made, thread) = made;
            with(user, &made, |ring| {
                assert_eq!(Client(&mut *ring).pcore_current().map(|own| own.object), Ok(thread.pcore.object));
            });
            user.sys().pcore_halt(thread.pcore, 0).unwrap();
        });
    });
    audit(&booted);
}

#[test]
fn a_kernel_core_polls_a_card() {
    let (booted, card, _) = boot_plugged(2);
    let (made, packets) = booted.on(0, |user| {
        let (made, device, packets) = with_card(user, 2);
        user.write(PACKETS, 1).unwrap();
        user.write(PACKETS + 4096, 1 | 60 << 32).unwrap();
        user.write(PACKETS + 4096 + 16, 0xffff_ffff_ffff).unwrap();
        with(user, &made, |ring| {
            let more = buffer_op::MORE;
            assert_eq!(Client(&mut *ring).device_buf(device, buffer_op::IN | more, packets, 0), Ok(()));
            assert_eq!(Client(&mut *ring).device_buf(device, buffer_op::OUT | more, packets, 4096), Ok(()));
        });
        (made, packets)
    });
    // Nobody has told the card, and nobody asks it: the kernel core does both.
    let sent = std::iter::repeat_with(|| {
        card.settle();
        std::thread::yield_now();
        card.take_sent()
    });
    assert_eq!(sent.into_iter().find(|sent| !sent.is_empty()).map(|sent| sent.len()), Some(1));
    let frame: Vec<u8> = (0..100).map(|n| if n < 6 { 0xff } else { n }).collect();
    let _ = card.deliver(&frame);
    card.settle();
    booted.on(0, move |user| {
        for page in [0, 4096] {
            while user.read(PACKETS + page).unwrap() & 1 == 1 {
                user.interrupts();
                std::thread::yield_now();
            }
        }
        assert_eq!(user.read(PACKETS), Ok(100 << 32));
        with_stat(user, made.pcore, |stat| {
            assert!(stat.useful >= 2 && stat.turns > stat.useful && stat.ring_calls == 2, "{stat:?}");
        });
        let first = start(user);
        clear(user, first.tree, 102).unwrap();
        user.sys().share_delobj(packets).unwrap();
        user.sys().pcore_halt(made.pcore, 0).unwrap();
        put_away(user, &made);
    });
    audit(&booted);
}

#[test]
fn the_key_to_the_machine_halts_whatever_runs() {
    let booted = boot(2);
    booted.on(0, |user| {
        let made = make(user);
        // The kernel core's own share names it, and nobody else does.
        configure(user, &made, &[made.share]).unwrap();
        run_kernel_core(user, &made).unwrap();
        with(user, &made, |ring| assert_eq!(Client(&mut *ring).pcore_current(), Ok(made.pcore)));
        end(user, made.boot, made.share);
        let core = |number: u64| ObjRef { share: made.boot, object: Id(CORE_BY_NUMBER | number) };
        let other = ObjRef { share: made.names, object: core(1).object };
        assert_eq!(user.sys().pcore_halt(other, 0), Err(Error::NotFound), "it is not the key");
        assert_eq!(user.sys().pcore_halt(core(2), 0), Err(Error::NotFound), "no such core");
        assert_eq!(user.sys().pcore_halt(core(1), 0), Ok(()));
        // Its pcore goes with the share that it drops after its end.
        while user.sys().pcore_halt(core(1), 0) == Err(Error::NotPermitted) {
            std::thread::yield_now();
        }
        assert_eq!(user.sys().pcore_halt(core(1), 0), Err(Error::NotFound));
        put_away_rest(user, &made);
    });
    audit(&booted);
}

#[test]
fn a_kernel_core_that_is_halted_at_once_ends_its_rings() {
    let booted = boot(2);
    booted.on(0, |user| {
        let made = make(user);
        for _ in 0..50 {
            configure(user, &made, &[]).unwrap();
            run_kernel_core(user, &made).unwrap();
            user.sys().pcore_halt(made.pcore, 0).unwrap();
            with(user, &made, |ring| {
                assert_eq!(Client(&mut *ring).pcore_current(), Err(Error::DeviceFailed));
            });
        }
        put_away(user, &made);
    });
    audit(&booted);
}
