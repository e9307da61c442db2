//! What calls on devices answer.

use crate::share::others_share;
use crate::*;
use corey_abi::{
    BufferHeader, CardConfig, DeviceCalls, Plain, RingConfig, SYSCALL_DEVICE, SegmentCalls, buffer_op, number,
};

const CONSOLE: u64 = 0;

fn alloc(user: &mut User<'_>, share: Id, home: Home) -> Result<ObjRef, Error> {
    let at = name(user, "console");
    let object = user.sys().device_alloc(share, CONSOLE, home, at)?;
    Ok(ObjRef { share, object })
}

/// A system-call device.
pub(crate) fn syscall_device(user: &mut User<'_>, first: Start) -> ObjRef {
    let at = name(user, "calls");
    let object = user.sys().device_alloc(first.boot, SYSCALL_DEVICE, Home::Any, at).unwrap();
    ObjRef { share: first.boot, object }
}

/// Gives a new system-call device a ring of four slots in two pages, with what `change` makes of it.
fn configure(
    user: &mut User<'_>,
    first: Start,
    change: impl FnOnce(&mut RingConfig),
) -> Result<(ObjRef, RingConfig), Error> {
    let (device, ring) = (syscall_device(user, first), segment(user, first.boot, 2).unwrap());
    let mut config = RingConfig { ring, slots: 4, nshares: 1, ..RingConfig::default() };
    config.shares[0] = first.boot;
    change(&mut config);
    let at = put(user, &config);
    let result = user.sys().device_conf(device, at);
    // Of a ring that was refused no page is kept.
    assert_eq!(user.sys().segment_set_nbytes(ring, 0).is_ok(), result.is_err());
    result.map(|()| (device, config))
}

/// Takes the network card.
fn card(user: &mut User<'_>, first: Start) -> Result<ObjRef, Error> {
    let at = name(user, "card");
    let object = user.sys().device_alloc(first.boot, 1, Home::Any, at)?;
    Ok(ObjRef { share: first.boot, object })
}

/// Tells a card what to accept.
fn listen(user: &mut User<'_>, first: Start, config: CardConfig) -> Result<(), Error> {
    let device = card(user, first)?;
    let at = put(user, &config);
    user.sys().device_conf(device, at)
}

/// Gives a card a page of results.
fn results(user: &mut User<'_>, first: Start, change: impl FnOnce(&mut CardConfig)) -> Result<(), Error> {
    let object = segment(user, first.boot, 1).unwrap();
    let mut config = CardConfig { results: object, ..CardConfig::default() };
    change(&mut config);
    let result = listen(user, first, config);
    // Of one that was refused no page is kept.
    assert_eq!(user.sys().segment_set_nbytes(object, 0).is_ok(), result.is_err());
    result
}

/// A network card, and a page for frames to come.
fn card_and_page(user: &mut User<'_>, first: Start) -> (ObjRef, ObjRef) {
    let (device, object) = (card(user, first).unwrap(), segment(user, first.boot, 1).unwrap());
    map(user, first.tree, 8, object, VA, 1).unwrap();
    user.write(VA, 1).unwrap();
    (device, object)
}

fn console(user: &mut User<'_>, first: Start) -> ObjRef {
    alloc(user, first.boot, Home::Any).unwrap()
}

/// Feeds a buffer whose header is `header` at byte `offset` of a segment of two pages.
fn feed(user: &mut User<'_>, first: Start, header: BufferHeader, offset: u64) -> Result<(), Error> {
    let (device, object) = (console(user, first), segment(user, first.boot, 2).unwrap());
    map(user, first.tree, 8, object, VA, 2).unwrap();
    let mut bytes = [0; BufferHeader::BYTES];
    header.to_bytes(&mut bytes);
    let words: Vec<u64> = bytes.chunks(8).map(|c| u64::from_le_bytes(c.try_into().unwrap())).collect();
    if offset.is_multiple_of(8) && offset <= 8192 - 16 {
        user.write_all(VA + offset, &words).unwrap();
    }
    user.sys().device_buf(device, buffer_op::OUT, object, offset)
}

fn ready(length: u32) -> BufferHeader {
    BufferHeader { ready: 1, length, done: 0, error: 0 }
}

/// The console, and a segment.
fn both(user: &mut User<'_>, first: Start) -> (ObjRef, ObjRef) {
    (console(user, first), segment(user, first.boot, 1).unwrap())
}

refusals! {
    device_list {
        BadAddress {
            a_list_nowhere: alone(|user, _| user.sys().device_list(0, NOWHERE, 1));
        }
    }
    device_alloc {
        BadArgument {
            a_core_no_machine_has: alone(|user, first| raw(user, number::device_alloc, [first.boot.0, CONSOLE, NO_CORE, 0, 0, 0]));
        }
        NotFound {
            a_share_not_held: alone(|user, _| alloc(user, NONE, Home::Any));
            no_such_device: alone(|user, first| { let at = name(user, ""); user.sys().device_alloc(first.boot, 1, Home::Any, at) });
            no_such_core: alone(|user, first| alloc(user, first.boot, Home::Core(4)));
        }
        NotPermitted {
            a_share_without_devices: alone(|user, first| {
                let to = without(user, first, Kinds::DEVICE);
                alloc(user, to, Home::Any)
            });
            memory_of_a_core_out_of_reach: together(|booted| {
                let made = others_share(booted);
                booted.on(2, move |user| alloc(user, made.share, Home::Core(1)))
            });
        }
        BadAddress {
            a_name_nowhere: alone(|user, first| user.sys().device_alloc(first.boot, CONSOLE, Home::Any, NOWHERE));
        }
        Busy {
            a_device_that_is_taken: alone(|user, first| {
                console(user, first);
                alloc(user, first.boot, Home::Any)
            });
        }
        DeviceFailed {
            a_card_that_is_gone: plugged(|user, first, card_| {
                card_.inject(Fault::Gone);
                card(user, first)
            });
        }
        QuotaExceeded {
            one_object: alone(|user, first| {
                let to = share(user, first.boot, 0, 0).unwrap();
                let refused = alloc(user, to, Home::Any);
                assert_eq!(alloc(user, to, Home::Any), refused, "the console is free again");
                refused
            });
        }
        NoMemory {
            for_its_name: together(out_of_memory(
                |user, first| share(user, first.boot, 0, 1).unwrap(),
                0,
                |user, _, to| {
                    let refused = alloc(user, to, Home::Any);
                    assert_eq!(alloc(user, to, Home::Any), refused, "the console is free again");
                    refused
                },
            ));
        }
    }
    device_stat {
        BadAddress {
            information_nowhere: plugged(|user, first, _| {
                let device = card(user, first).unwrap();
                user.sys().device_stat(device, NOWHERE)
            });
        }
        NotFound {
            a_device_not_named: alone(|user, first| user.sys().device_stat(unnamed(first), NOWHERE));
        }
        WrongKind {
            of_a_pcore: alone(|user, first| user.sys().device_stat(first.pcore, NOWHERE));
        }
        Unsupported {
            the_console: alone(|user, first| {
                let device = console(user, first);
                user.sys().device_stat(device, NOWHERE)
            });
        }
    }
    device_conf {
        NotFound {
            a_device_not_named: alone(|user, first| user.sys().device_conf(unnamed(first), NOWHERE));
            a_share_not_held: alone(|user, first| configure(user, first, |config| config.shares[0] = NONE));
            a_segment_not_named: alone(|user, first| configure(user, first, |config| config.ring.object = NONE));
            results_not_named: plugged(|user, first, _| results(user, first, |config| config.results.object = NONE));
            arguments_not_named: alone(|user, first| configure(user, first, |config| config.arguments = ObjRef { share: config.shares[0], object: NONE }));
        }
        WrongKind {
            of_a_pcore: alone(|user, first| user.sys().device_conf(first.pcore, NOWHERE));
            results_in_a_pcore: plugged(|user, first, _| results(user, first, |config| config.results = first.pcore));
            a_pcore_as_arguments: alone(|user, first| {
                let pcore = first.pcore;
                configure(user, first, |config| config.arguments = pcore)
            });
        }
        Unsupported {
            the_console: alone(|user, first| {
                let device = console(user, first);
                user.sys().device_conf(device, NOWHERE)
            });
        }
        BadAddress {
            a_configuration_of_a_card_nowhere: plugged(|user, first, _| {
                let device = card(user, first).unwrap();
                user.sys().device_conf(device, NOWHERE)
            });
            a_configuration_nowhere: alone(|user, first| {
                let device = syscall_device(user, first);
                user.sys().device_conf(device, NOWHERE)
            });
        }
        BadArgument {
            another_filter: plugged(|user, first, _| listen(user, first, CardConfig { filter: 3, ..CardConfig::default() }));
            a_word_that_must_be_zero: plugged(|user, first, _| listen(user, first, CardConfig { filter: 1, reserved: 1, ..CardConfig::default() }));
            no_slots: alone(|user, first| configure(user, first, |config| config.slots = 0));
            slots_that_are_no_power_of_two: alone(|user, first| configure(user, first, |config| config.slots = 12));
            more_slots_than_there_can_be: alone(|user, first| configure(user, first, |config| config.slots = 512));
            slots_without_end: alone(|user, first| configure(user, first, |config| config.slots = 1 << 32 | 4));
            more_shares_than_a_ring_has: alone(|user, first| configure(user, first, |config| config.nshares = 9));
            shares_without_end: alone(|user, first| configure(user, first, |config| config.nshares = u64::MAX));
            a_share_twice: alone(|user, first| configure(user, first, |config| {
                config.nshares = 2;
                config.shares[1] = config.shares[0];
            }));
        }
        Misaligned {
            results_inside_a_page: plugged(|user, first, _| results(user, first, |config| config.offset = 8));
            a_ring_inside_a_page: alone(|user, first| configure(user, first, |config| config.offset = 128));
        }
        OutOfRange {
            results_behind_their_segment: plugged(|user, first, _| results(user, first, |config| config.offset = 4096));
            results_at_the_end_of_all: plugged(|user, first, _| results(user, first, |config| config.offset = !4095));
            a_ring_behind_its_segment: alone(|user, first| configure(user, first, |config| config.offset = 8192));
            a_ring_that_ends_behind_its_segment: alone(|user, first| configure(user, first, |config| config.slots = 256));
            a_ring_at_the_end_of_all: alone(|user, first| configure(user, first, |config| config.offset = !4095));
        }
        Busy {
            a_device_that_has_a_ring: alone(|user, first| {
                let (device, config) = configure(user, first, |_| ()).unwrap();
                let at = put(user, &config);
                user.sys().device_conf(device, at)
            });
        }
        NoMemory {
            for_a_page_of_the_ring: together(out_of_memory(
                |user, first| {
                    let ring = segment(user, first.boot, 2).unwrap();
                    (syscall_device(user, first), RingConfig { ring, slots: 4, ..RingConfig::default() })
                },
                0,
                |user, _, (device, config)| {
                    let at = put(user, &config);
                    user.sys().device_conf(device, at)
                },
            ));
        }
    }
    device_buf {
        Full {
            more_than_a_card_can_have: plugged(|user, first, _| {
                let (device, object) = card_and_page(user, first);
                let mut results = (0..1000).map(|_| user.sys().device_buf(device, buffer_op::IN, object, 0));
                let full = results.find(Result::is_err).unwrap();
                user.sys().share_delobj(device).unwrap();
                full
            });
        }
        DeviceFailed {
            a_card_that_is_gone_when_it_is_reset: plugged(|user, first, card_| {
                let device = card(user, first).unwrap();
                card_.inject(Fault::Gone);
                user.sys().device_buf(device, buffer_op::RESET, ObjRef { share: NONE, object: NONE }, 0)
            });
        }
        NotFound {
            a_device_not_named: alone(|user, first| user.sys().device_buf(unnamed(first), 0, unnamed(first), 0));
            a_segment_not_named: alone(|user, first| {
                let device = console(user, first);
                user.sys().device_buf(device, 0, unnamed(first), 0)
            });
        }
        WrongKind {
            of_a_pcore: alone(|user, first| user.sys().device_buf(first.pcore, 0, unnamed(first), 0));
            a_buffer_in_a_pcore: alone(|user, first| {
                let device = console(user, first);
                user.sys().device_buf(device, 0, first.pcore, 0)
            });
        }
        BadArgument {
            an_operation_that_does_not_exist: alone(|user, first| {
                let (device, object) = both(user, first);
                user.sys().device_buf(device, 4, object, 0)
            });
        }
        Unsupported {
            a_buffer_for_a_syscall_device: alone(|user, first| {
                let (device, object) = (syscall_device(user, first), segment(user, first.boot, 1).unwrap());
                user.sys().device_buf(device, buffer_op::OUT, object, 0)
            });
            marks_on_the_console: alone(|user, first| {
                let (device, object) = both(user, first);
                user.sys().device_buf(device, buffer_op::OUT | buffer_op::marked(20, 1), object, 0)
            });
            input: alone(|user, first| {
                let (device, object) = both(user, first);
                user.sys().device_buf(device, buffer_op::IN, object, 0)
            });
        }
        Misaligned {
            between_16_bytes: alone(|user, first| feed(user, first, ready(1), 8));
        }
        OutOfRange {
            a_header_at_the_end: alone(|user, first| feed(user, first, ready(0), 8192));
            an_offset_that_wraps: alone(|user, first| feed(user, first, ready(0), !15));
            data_beyond_the_end: alone(|user, first| feed(user, first, ready(1), 8192 - 16));
            a_line_that_is_too_long: alone(|user, first| feed(user, first, ready(4097), 0));
            as_long_as_a_word_holds: alone(|user, first| feed(user, first, ready(u32::MAX), 0));
        }
        Busy {
            a_buffer_that_is_not_ready: alone(|user, first| feed(user, first, BufferHeader { ready: 0, ..ready(1) }, 0));
            a_buffer_nobody_wrote: alone(|user, first| {
                let (device, object) = both(user, first);
                user.sys().device_buf(device, buffer_op::OUT, object, 0)
            });
        }
        NoMemory {
            for_a_page_nobody_touched: together(out_of_memory(
                both,
                0,
                |user, _, (device, object)| user.sys().device_buf(device, buffer_op::OUT, object, 0),
            ));
        }
    }
}
