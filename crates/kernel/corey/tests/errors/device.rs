//! What calls on devices answer.

use crate::share::others_share;
use crate::*;
use corey_abi::{BufferHeader, DeviceCalls, Plain, buffer_op, number};

const CONSOLE: u64 = 0;

fn alloc(user: &mut User<'_>, share: Id, home: Home) -> Result<ObjRef, Error> {
    let at = name(user, "console");
    let object = user.sys().device_alloc(share, CONSOLE, home, at)?;
    Ok(ObjRef { share, object })
}

/// Takes the network card.
fn card(user: &mut User<'_>, first: Start) -> Result<ObjRef, Error> {
    let at = name(user, "card");
    let object = user.sys().device_alloc(first.boot, 1, Home::Any, at)?;
    Ok(ObjRef { share: first.boot, object })
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
        }
        WrongKind {
            of_a_pcore: alone(|user, first| user.sys().device_conf(first.pcore, NOWHERE));
        }
        Unsupported {
            the_console: alone(|user, first| {
                let device = console(user, first);
                user.sys().device_conf(device, NOWHERE)
            });
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
