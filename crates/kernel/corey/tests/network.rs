//! Network cards: a card's model under a whole kernel.

mod common;

use common::*;
use corey_abi::{
    CardConfig, DeviceCalls, Error, Home, Id, NetworkStat, ObjRef, SegmentCalls, ShareCalls, UserPtr,
    buffer_op, card_filter, card_result,
};
use corey_test_e1000_model::{Delivery, Fault};
use corey_test_hal_host::User;
use std::sync::atomic::Ordering;

const BASE: u64 = 0x6000_0000_0000;
const PAGES: u64 = 4;
const HEADER: u64 = 48;

fn open(user: &mut User<'_>, first: Start) -> Result<ObjRef, Error> {
    let text = name(user, "card");
    let object = user.sys().device_alloc(first.boot, 1, Home::Any, text)?;
    Ok(ObjRef { share: first.boot, object })
}

/// A segment of [`PAGES`] at [`BASE`], in slot 100.
fn packets(user: &mut User<'_>, first: Start) -> ObjRef {
    let object = segment(user, first.boot, PAGES).unwrap();
    map(user, first.tree, 100, object, BASE, PAGES).unwrap();
    object
}

fn post(
    user: &mut User<'_>,
    device: ObjRef,
    packets: ObjRef,
    page: u64,
    (operation, length): (u64, u64),
) -> Result<(), Error> {
    user.write(BASE + page * 4096 + HEADER, 1 | length << 32).unwrap();
    user.write(BASE + page * 4096 + HEADER + 8, 0).unwrap();
    user.sys().device_buf(device, operation, packets, page * 4096 + HEADER)
}

fn poll(user: &mut User<'_>, device: ObjRef) -> Result<(), Error> {
    user.sys().device_buf(device, buffer_op::POLL, ObjRef { share: Id(0), object: Id(0) }, 0)
}

/// What the header of a page says: ready and length, done and error.
fn header(user: &mut User<'_>, page: u64) -> [u64; 2] {
    [0, 8].map(|at| user.read(BASE + page * 4096 + HEADER + at).unwrap())
}

fn stat(user: &mut User<'_>, device: ObjRef) -> NetworkStat {
    let at = put(user, &NetworkStat::default());
    user.sys().device_stat(device, at).unwrap();
    take(user)
}

#[test]
fn frames_come_and_go_in_buffers_of_a_segment() {
    let (booted, card, _) = boot_plugged(1);
    let (device, packets) = booted.on(0, |user| {
        let first = start(user);
        let (device, packets) = (open(user, first).unwrap(), packets(user, first));
        post(user, device, packets, 0, (buffer_op::IN | buffer_op::MORE, 0)).unwrap();
        post(user, device, packets, 1, (buffer_op::IN, 0)).unwrap();
        user.write(BASE + 2 * 4096 + HEADER + 16, 0xffff_ffff_ffff).unwrap();
        post(user, device, packets, 2, (buffer_op::OUT, 60)).unwrap();
        assert_eq!(user.sys().segment_set_nbytes(packets, 0), Err(Error::Busy));
        (device, packets)
    });
    card.settle();
    let sent = card.take_sent();
    assert_eq!((sent.len(), &sent[0][..6]), (1, [0xff; 6].as_slice()));
    let frame: Vec<u8> = (0..100).map(|n| if n < 6 { 0xff } else { n }).collect();
    let _ = card.deliver(&frame);
    card.settle();
    booted.on(0, move |user| {
        assert_eq!(header(user, 0)[0] as u32, 1, "nobody has asked yet");
        poll(user, device).unwrap();
        assert_eq!(header(user, 0), [100 << 32, 1]);
        assert_eq!(header(user, 2)[1], 1, "it was sent");
        assert_eq!(header(user, 1)[0] as u32, 1, "the other waits");
        let word = user.read(BASE + HEADER + 16 + 8).unwrap();
        assert_eq!(word.to_le_bytes(), [8, 9, 10, 11, 12, 13, 14, 15]);
        let stat = stat(user, device);
        assert_eq!((stat.received, stat.sent, stat.posted, stat.errors), (1, 1, [1, 0], 0));
        let first = start(user);
        user.sys().share_delobj(device).unwrap();
        assert_eq!(header(user, 1), [0, 1 | (Error::DeviceFailed as u64) << 32], "it came back");
        user.sys().segment_set_nbytes(packets, 0).unwrap();
        let again = open(user, first).unwrap();
        user.sys().share_delobj(again).unwrap();
    });
    audit(&booted);
}

/// What a card accepts is its owner's choice, and no longer than its owner's.
#[test]
fn a_card_accepts_the_frames_that_its_owner_wants() {
    let (booted, card, _) = boot_plugged(1);
    let group: Vec<u8> = [1, 0, 0x5e, 0, 0, 1].into_iter().chain([0x55; 60]).collect();
    let device = booted.on(0, |user| {
        let first = start(user);
        open(user, first).unwrap()
    });
    assert_eq!(card.deliver(&group), Delivery::Filtered);
    booted.on(0, move |user| {
        let at = put(user, &CardConfig { filter: card_filter::GROUPS, ..CardConfig::default() });
        user.sys().device_conf(device, at).unwrap();
    });
    assert_eq!(card.deliver(&group), Delivery::Accepted);
    booted.on(0, move |user| {
        let first = start(user);
        user.sys().share_delobj(device).unwrap();
        open(user, first).unwrap();
    });
    assert_eq!(card.deliver(&group), Delivery::Filtered, "the next owner asked for nothing");
    audit(&booted);
}

/// Has the results of marked buffers written into page `page` of `results`.
fn write_results(user: &mut User<'_>, device: ObjRef, results: ObjRef, page: u64) -> Result<(), Error> {
    let at = put(user, &CardConfig { results, offset: page * 4096, ..CardConfig::default() });
    user.sys().device_conf(device, at)
}

/// What became of marked buffers stands in one page, by the numbers of their pages; of others in their headers.
#[test]
fn results_of_marked_buffers_go_to_the_page_that_was_given() {
    let (booted, card, _) = boot_plugged(1);
    let (device, packets) = booted.on(0, |user| {
        let first = start(user);
        let (device, packets) = (open(user, first).unwrap(), packets(user, first));
        write_results(user, device, packets, 3).unwrap();
        assert_eq!(user.sys().segment_set_nbytes(packets, 3 * 4096), Err(Error::Busy), "it stays there");
        let mut marked = |page: u64, operation, length, mark| {
            let operation = operation | buffer_op::MORE | buffer_op::marked(length, mark);
            user.sys().device_buf(device, operation, packets, page * 4096 + HEADER)
        };
        marked(0, buffer_op::IN, 0, 7).unwrap();
        marked(1, buffer_op::OUT, 60, 8).unwrap();
        post(user, device, packets, 2, (buffer_op::IN, 0)).unwrap();
        (device, packets)
    });
    card.settle();
    for length in [99, 61] {
        let _ = card.deliver(&vec![0xff; length]);
    }
    card.settle();
    booted.on(0, move |user| {
        let result = |user: &mut User<'_>, page: u64| user.read(BASE + 3 * 4096 + page * 8).unwrap();
        poll(user, device).unwrap();
        assert_eq!(result(user, 0), card_result::of(7, 99, 0));
        assert_eq!(result(user, 1), card_result::of(8, 0, 0));
        assert_eq!(header(user, 0), [0, 0], "nothing there");
        assert_eq!((header(user, 2), result(user, 2)), ([61 << 32, 1], 0), "not marked");
        // Of another page from now on, and what was posted before, too.
        let operation = buffer_op::IN | buffer_op::marked(0, 9);
        user.sys().device_buf(device, operation, packets, HEADER).unwrap();
        let first = start(user);
        let other = segment(user, first.boot, 1).unwrap();
        map(user, first.tree, 101, other, BASE + (1 << 21), 1).unwrap();
        write_results(user, device, other, 0).unwrap();
        user.sys().device_buf(device, buffer_op::RESET, packets, 0).unwrap();
        let failed = card_result::of(9, 0, Error::DeviceFailed as u16);
        assert_eq!(user.read(BASE + (1 << 21)).unwrap(), failed);
        assert_eq!(result(user, 0), card_result::of(7, 99, 0), "no longer there");
        user.sys().segment_set_nbytes(packets, 3 * 4096).unwrap();
        // To headers again, whether the owner wants it or the segment ends.
        write_results(user, device, ObjRef::default(), 0).unwrap();
        user.sys().segment_set_nbytes(other, 0).unwrap();
        user.sys().segment_set_nbytes(other, 4096).unwrap();
        write_results(user, device, other, 0).unwrap();
        user.sys().device_buf(device, operation, packets, HEADER).unwrap();
        user.sys().share_delobj(other).unwrap();
        user.sys().device_buf(device, buffer_op::RESET, packets, 0).unwrap();
        assert_eq!(header(user, 0), [9, 1 | (Error::DeviceFailed as u64) << 32]);
    });
    audit(&booted);
}

/// A card's next owner has nothing of the last one's, whose page is free.
#[test]
fn the_page_of_results_is_let_go_with_the_device() {
    let (booted, _, _) = boot_plugged(1);
    booted.on(0, |user| {
        let first = start(user);
        let (device, packets) = (open(user, first).unwrap(), packets(user, first));
        write_results(user, device, packets, 3).unwrap();
        // Not once more for each time that it is said.
        write_results(user, device, packets, 3).unwrap();
        user.sys().share_delobj(device).unwrap();
        user.sys().segment_set_nbytes(packets, 3 * 4096).unwrap();
        let device = open(user, first).unwrap();
        let operation = buffer_op::IN | buffer_op::marked(0, 5);
        user.sys().device_buf(device, operation, packets, HEADER).unwrap();
        user.sys().device_buf(device, buffer_op::RESET, packets, 0).unwrap();
        assert_eq!(header(user, 0)[0], 5);
        // A segment that holds results and buffers ends with its device in use.
        write_results(user, device, packets, 2).unwrap();
        user.sys().device_buf(device, operation, packets, HEADER).unwrap();
        user.sys().share_delobj(packets).unwrap();
        assert_eq!(stat(user, device).posted, [0, 0]);
        // What was its page of results may be any page now: it is not written.
        let packets = self::packets(user, first);
        user.sys().device_buf(device, operation, packets, HEADER).unwrap();
        user.sys().device_buf(device, buffer_op::RESET, packets, 0).unwrap();
        assert_eq!(header(user, 0)[0], 5);
        user.sys().share_delobj(device).unwrap();
    });
    audit(&booted);
}

/// Length and mark stand in the call: nobody reads the header, and the mark comes back in it.
#[test]
fn marked_buffers_need_no_header() {
    let (booted, card, _) = boot_plugged(1);
    let (device, packets) = booted.on(0, |user| {
        let first = start(user);
        let (device, packets) = (open(user, first).unwrap(), packets(user, first));
        let mut post =
            |page: u64, operation| user.sys().device_buf(device, operation, packets, page * 4096 + HEADER);
        let mark = |length, mark| buffer_op::MORE | buffer_op::marked(length, mark);
        post(0, buffer_op::IN | mark(0, 7)).unwrap();
        post(1, buffer_op::OUT | mark(60, 1 << 24 | 9)).unwrap();
        post(2, buffer_op::IN | mark(0, buffer_op::MARK)).unwrap();
        assert_eq!(post(3, buffer_op::OUT | mark(13, 1)), Err(Error::OutOfRange), "too short for a frame");
        assert_eq!(post(3, buffer_op::OUT | mark(1515, 1)), Err(Error::OutOfRange), "too long");
        for other in [1 << 56, 1 << 10, 4] {
            assert_eq!(post(3, buffer_op::OUT | mark(60, 1) | other), Err(Error::BadArgument), "{other:x}");
        }
        for alone in [buffer_op::POLL, buffer_op::RESET] {
            assert_eq!(post(0, alone | buffer_op::marked(0, 1)), Err(Error::BadArgument));
            assert_eq!(post(0, alone | buffer_op::MORE), Err(Error::BadArgument));
        }
        poll(user, device).unwrap();
        (device, packets)
    });
    card.settle();
    assert_eq!(card.take_sent().iter().map(Vec::len).collect::<Vec<_>>(), [60]);
    let _ = card.deliver(&[0xff; 99]);
    card.settle();
    booted.on(0, move |user| {
        poll(user, device).unwrap();
        assert_eq!(header(user, 0), [99 << 32 | 7, 1]);
        assert_eq!(header(user, 1), [9, 1], "a mark's lower bits");
        assert_eq!(header(user, 2), [0, 0], "still the card's");
        user.sys().device_buf(device, buffer_op::RESET, packets, 0).unwrap();
        let reset = 1 | (Error::DeviceFailed as u64) << 32;
        assert_eq!(header(user, 2), [buffer_op::MARK, reset], "marked when it fails, too");
    });
    audit(&booted);
}

/// The segment ends while the card has its pages: the card is stopped before they are anybody else's.
#[test]
fn a_card_writes_no_page_of_a_segment_that_ended() {
    let (booted, card, writes) = boot_plugged(2);
    let device = booted.on(0, |user| {
        let first = start(user);
        let (device, packets) = (open(user, first).unwrap(), packets(user, first));
        (0..PAGES).for_each(|page| post(user, device, packets, page, (buffer_op::IN, 0)).unwrap());
        user.sys().share_delobj(packets).unwrap();
        device
    });
    for _ in 0..8 {
        let _ = card.deliver(&[0xff; 200]);
    }
    card.settle();
    assert_eq!(writes.load(Ordering::SeqCst), 0, "a page was written that is not the card's");
    booted.on(0, move |user| {
        let first = start(user);
        poll(user, device).unwrap();
        assert_eq!(stat(user, device).posted, [0, 0]);
        let packets = packets(user, first);
        post(user, device, packets, 0, (buffer_op::IN, 0)).unwrap();
    });
    let _ = card.deliver(&[0xff; 200]);
    card.settle();
    assert!(writes.load(Ordering::SeqCst) > 0, "it goes on with other pages");
    audit(&booted);
}

/// A card that does not answer any more: the pages that it has are not used again, and everything else goes on.
#[test]
fn what_a_dead_card_has_is_nobodys() {
    let (booted, card, _) = boot_plugged(1);
    let (device, packets) = booted.on(0, |user| {
        let first = start(user);
        let (device, packets) = (open(user, first).unwrap(), packets(user, first));
        post(user, device, packets, 0, (buffer_op::IN, 0)).unwrap();
        (device, packets)
    });
    card.inject(Fault::Gone);
    booted.on(0, move |user| {
        let first = start(user);
        user.sys().share_delobj(packets).unwrap();
        assert_eq!(poll(user, device), Err(Error::DeviceFailed));
        user.sys().share_delobj(device).unwrap();
        assert_eq!(open(user, first), Err(Error::DeviceFailed));
        let _ = user.sys().device_list(0, UserPtr(0), 0).unwrap();
    });
}
