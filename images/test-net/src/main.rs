//! Network cards: taken, fed, reset, given back. Needs a machine with a card that QEMU's user network is behind.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name")]

use corey_abi::{
    BufferHeader, CardConfig, DeviceCalls, Error, Home, MapFlags, Name, ObjRef, PAGE_BYTES, Plain,
    SegmentCalls, ShareCalls, buffer_op,
};
use corey_lib_sync::Quarantine;
use corey_libos_card::{Card, cards};
use corey_libos_rt::sys::{address, pause, rdtsc, segment, sys};
use corey_libos_rt::{Process, Status, entry};
use corey_libos_test::Suite;

entry!(main);

fn main(mut process: Process) -> Status {
    let mut suite = Suite::new(&process, "net");
    let Some(all) = suite.works("a list of cards", cards()) else { return suite.finish() };
    suite.equal("one card", all.len(), 1);
    if let Some(number) = all.first() {
        speaks(&mut suite, &mut process, *number);
        refuses(&mut suite, &mut process, *number);
        forgets(&mut suite, &mut process, *number);
    }
    suite.audit("nothing is lost");
    suite.finish()
}

/// Who asks, and who answers: the addresses of QEMU's user network.
const OWN: [u8; 4] = [10, 0, 2, 15];
const GATEWAY: [u8; 4] = [10, 0, 2, 2];

/// Writes an ARP request (RFC 826) for the gateway.
fn ask(frame: &mut [u8], own: [u8; 6]) -> usize {
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        if let Some(place) = frame.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        at += bytes.len();
    };
    put(&[0xff; 6]);
    put(&own);
    put(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    put(&own);
    put(&OWN);
    put(&[0; 6]);
    put(&GATEWAY);
    at
}

/// Whether a frame is the answer.
fn answers(frame: &[u8], own: [u8; 6]) -> bool {
    frame.get(..6) == Some(&own)
        && frame.get(12..14) == Some(&[8, 6])
        && frame.get(20..22) == Some(&[0, 2])
        && frame.get(28..32) == Some(&GATEWAY)
}

/// Asks until the answer comes.
fn hears(process: &Process, card: &mut Card) -> Result<bool, Error> {
    let own = card.address();
    let until = rdtsc() + 2 * process.info.header.tsc_hz;
    card.send(|frame| ask(frame, own))?;
    while rdtsc() < until {
        card.poll()?;
        while let Some(good) = card.receive(|frame| answers(frame, own))? {
            if good {
                return Ok(true);
            }
        }
        pause();
    }
    Ok(false)
}

fn speaks(suite: &mut Suite, process: &mut Process, number: u64) {
    let opened = Card::open(&mut process.space, process.program, number);
    let Some(mut card) = suite.works("the card is taken", opened) else { return };
    suite.check("it has an address", card.address() != [0; 6], format_args!("{:02x?}", card.address()));
    let other = Card::open(&mut process.space, process.program, number);
    suite.refused("and nobody else's", other.map(|_| ()), Error::Busy);
    for turn in 0..3 {
        let heard = hears(process, &mut card);
        suite.equal("a question is answered", heard, Ok(true));
        if turn == 0
            && let Some(stat) = suite.works("what is known", card.stat())
        {
            suite.check(
                "a frame was sent, and one came",
                stat.sent == 1 && stat.received >= 1,
                format_args!("{stat:?}"),
            );
        }
    }
    for _ in 0..300 {
        let own = card.address();
        while card.send(|frame| ask(frame, own)).is_err() {
            let _ = card.poll();
            while let Ok(Some(())) = card.receive(|_| ()) {}
        }
    }
    suite.equal("after 300 more, too", hears(process, &mut card), Ok(true));
    card.quarantine();
    suite.equal("and when it was given up", hears(process, &mut card), Ok(true));
    let (packets, device) = card.objects();
    suite.refused("posted pages are not cut off", sys().segment_set_nbytes(packets, PAGE_BYTES), Error::Busy);
    suite.works("a reset", sys().device_buf(device, buffer_op::RESET, ObjRef::default(), 0));
    suite.refused("nor is that of results", sys().segment_set_nbytes(packets, PAGE_BYTES), Error::Busy);
    suite.works("results in headers again", sys().device_conf(device, address(&CardConfig::default())));
    suite.works("after it they are", sys().segment_set_nbytes(packets, PAGE_BYTES));
    suite.works("it is given back", card.close(&mut process.space));
}

fn refuses(suite: &mut Suite, process: &mut Process, number: u64) {
    let (share, name) = (process.program, Name::new("card"));
    let taken = sys().device_alloc(share, number, Home::Any, address(&name));
    let Some(object) = suite.works("the card is taken again", taken) else { return };
    let device = ObjRef { share, object };
    let Some(buffer) = suite.works("a page", segment(share, 2 * PAGE_BYTES, "page")) else { return };
    let mapped = process.space.map(buffer, 2, MapFlags::WRITE);
    let Some((va, slot)) = suite.works("mapped", mapped) else { return };
    let feed = |header: BufferHeader, at: u64, operation: u64| {
        let mut bytes = [0; BufferHeader::BYTES];
        header.to_bytes(&mut bytes);
        if at < 2 * PAGE_BYTES - 16 {
            // SAFETY: inside the mapping.
            unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), (va + at) as *mut u8, bytes.len()) };
        }
        sys().device_buf(device, operation, buffer, at)
    };
    let (out, receive) = (buffer_op::OUT, buffer_op::IN);
    let ready = |length| BufferHeader { ready: 1, length, done: 0, error: 0 };
    suite.refused("one that is not ready", feed(BufferHeader::default(), 0, out), Error::Busy);
    suite.refused("a frame that is too short", feed(ready(13), 0, out), Error::OutOfRange);
    suite.refused("one that is too long", feed(ready(1515), 0, out), Error::OutOfRange);
    suite.refused("one of four billion bytes", feed(ready(u32::MAX), 0, out), Error::OutOfRange);
    suite.refused("one that leaves its page", feed(ready(1000), 4096 - 512, out), Error::OutOfRange);
    suite.refused("room that leaves its page", feed(ready(0), 4096 - 2048, receive), Error::OutOfRange);
    suite.refused("one beyond the segment", feed(ready(64), 2 * PAGE_BYTES, out), Error::OutOfRange);
    suite.refused("one at an odd place", feed(ready(64), 8, out), Error::Misaligned);
    suite.refused("an operation that is none", feed(ready(64), 0, 7), Error::BadArgument);
    let mut full = Ok(());
    for _ in 0..1000 {
        full = feed(ready(0), 0, receive);
        if full.is_err() {
            break;
        }
    }
    suite.refused("more than the card can have", full, Error::Full);
    suite.works("the device ends with all of them", sys().share_delobj(device));
    suite.works("and the page is free", sys().segment_set_nbytes(buffer, 0));
    suite.works("unmapped", process.space.unmap(slot));
    suite.works("and gone", sys().share_delobj(buffer));
}

/// The segment ends while the card has its pages: it is reset, and goes on with others.
fn forgets(suite: &mut Suite, process: &mut Process, number: u64) {
    let opened = Card::open(&mut process.space, process.program, number);
    let Some(card) = suite.works("the card is taken once more", opened) else { return };
    let (packets, device) = card.objects();
    suite.works("its packets end", sys().share_delobj(packets));
    suite.works("the card can be asked", sys().device_buf(device, buffer_op::POLL, ObjRef::default(), 0));
    let stat = card.stat();
    suite.check("it has nothing", stat.is_ok_and(|stat| stat.posted == [0, 0]), format_args!("{stat:?}"));
    suite.works("it ends", sys().share_delobj(device));
    let opened = Card::open(&mut process.space, process.program, number);
    let Some(mut card) = suite.works("and is taken anew", opened) else { return };
    suite.equal("a question is answered", hears(process, &mut card), Ok(true));
    suite.works("it is given back", card.close(&mut process.space));
}
