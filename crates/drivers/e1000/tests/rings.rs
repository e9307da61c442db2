//! Frames in and out: order, batches, register accesses, and what is refused.

mod rig;

use corey_drivers_e1000::{Cause, Completion, Damage, E1000, Filter, Gone, Interrupts, Refused};
use corey_test_e1000_model::{Accesses, Card, Delivery, Fault, Memory, Speed};
use rig::{Leaving, PAGE, Rig, buffer, frame, padded, received};

#[test]
fn thirty_two_frames_in_and_out_cost_two_register_writes_and_no_read() {
    let mut rig = Rig::<256>::started(128);
    (0..64).for_each(|page| rig.post_receive(page));
    rig.nic.ring_doorbells();
    let _ = rig.card.take_accesses();
    let mut next = 0;
    for batch in 0..100 {
        for seed in 0..32 {
            assert_eq!(rig.card.deliver(&frame(64 + seed as usize, batch + seed)), Delivery::Accepted);
        }
        rig.card.settle();
        for (seed, done) in (0..).zip(rig.poll(32)) {
            assert_eq!(done, received(next, 64 + seed));
            let got = rig.memory.bytes(buffer(next), 64 + usize::from(seed));
            assert_eq!(got, frame(64 + usize::from(seed), batch + u64::from(seed)));
            rig.post_receive(next);
            next = (next + 1) % 64;
        }
        (64..96).for_each(|page| rig.post_transmit(page, &frame(60, batch + page)));
        rig.nic.ring_doorbells();
        rig.card.settle();
        let sent: Vec<_> = rig.poll(32);
        assert_eq!(sent, (64..96).map(|cookie| Completion::Sent { cookie }).collect::<Vec<_>>());
        assert_eq!(rig.card.take_sent(), (64..96).map(|page| frame(60, batch + page)).collect::<Vec<_>>());
        rig.nic.ring_doorbells();
        assert_eq!(rig.card.take_accesses(), Accesses { reads: 0, writes: 2 });
    }
}

#[test]
fn a_batch_of_transmit_descriptors_is_written_back_once() {
    let mut rig = Rig::<256>::started(256);
    for (count, reports) in [(1, 1), (31, 1), (32, 1), (33, 2), (100, 4)] {
        (0..count).for_each(|page| rig.post_transmit(page, &frame(60, page)));
        rig.nic.ring_doorbells();
        let writes = rig.memory.card_writes();
        rig.card.settle();
        assert_eq!(rig.memory.card_writes() - writes, reports, "{count} frames");
        assert_eq!(rig.poll(1000).len() as u64, count);
    }
}

#[test]
fn frames_of_a_long_batch_come_back_while_the_rest_is_being_sent() {
    let mut rig = Rig::<256>::started(256);
    (0..255).for_each(|page| rig.post_transmit(page, &frame(60, page)));
    assert_eq!(rig.nic.post_transmit(buffer(255), 60, 255), Err(Refused::Full));
    rig.nic.ring_doorbells();
    assert!((0..31).all(|_| rig.card.step_transmit()));
    assert!(rig.poll(1000).is_empty());
    rig.card.step_transmit();
    assert_eq!(rig.poll(20).len(), 20);
    assert_eq!(rig.nic.transmit_room(), 20);
    assert_eq!(rig.poll(1000).len(), 12);
    rig.card.settle();
    assert_eq!(rig.poll(1000).len(), 223);
}

#[test]
fn nothing_is_the_cards_before_the_doorbell() {
    let mut rig = Rig::<8>::started(16);
    rig.post_receive(0);
    rig.post_transmit(1, &frame(60, 1));
    rig.card.deliver(&frame(60, 2));
    rig.card.settle();
    assert!(rig.poll(10).is_empty());
    rig.nic.ring_doorbells();
    rig.card.settle();
    assert_eq!(rig.poll(10), [received(0, 60), Completion::Sent { cookie: 1 }]);
}

#[test]
fn a_ring_takes_one_buffer_less_than_it_has_descriptors() {
    let mut rig = Rig::<8>::started(32);
    for round in 0..20 {
        assert_eq!((rig.nic.receive_room(), rig.nic.transmit_room()), (7, 7), "round {round}");
        (0..7).for_each(|page| rig.post_receive(page));
        (7..14).for_each(|page| rig.post_transmit(page, &frame(60, page)));
        assert_eq!(rig.nic.post_receive(buffer(14), 14), Err(Refused::Full));
        assert_eq!(rig.nic.post_transmit(buffer(14), 60, 14), Err(Refused::Full));
        rig.nic.ring_doorbells();
        (0..7).for_each(|seed| _ = rig.card.deliver(&frame(60, seed)));
        rig.card.settle();
        assert_eq!(rig.poll(100).len(), 14);
    }
}

#[test]
fn a_buffer_that_would_leave_its_page_is_refused() {
    let mut rig = Rig::<8>::started(2);
    let page = buffer(0) - 64;
    assert_eq!(rig.nic.post_receive(page + PAGE - 2047, 0), Err(Refused::Address));
    assert_eq!(rig.nic.post_receive(0, 0), Err(Refused::Address));
    assert_eq!(rig.nic.post_receive(page + PAGE - 2048, 0), Ok(()));
    assert_eq!(rig.nic.post_transmit(page + PAGE - 99, 100, 0), Err(Refused::Address));
    assert_eq!(rig.nic.post_transmit(0, 100, 0), Err(Refused::Address));
    assert_eq!(rig.nic.post_transmit(page + PAGE - 100, 100, 0), Ok(()));
    assert_eq!(rig.nic.post_transmit(u64::MAX, 100, 0), Err(Refused::Address));
}

#[test]
fn a_frame_that_is_too_long_or_too_short_is_refused_and_a_short_one_is_padded() {
    let mut rig = Rig::<8>::started(4);
    for length in [0, 16, 1515, u16::MAX] {
        assert_eq!(rig.nic.post_transmit(buffer(0), length, 0), Err(Refused::Length), "{length} bytes");
    }
    for (page, length) in [(0, 17), (1, 42), (2, 60), (3, 1514)] {
        rig.post_transmit(page, &frame(length, page));
    }
    rig.nic.ring_doorbells();
    rig.card.settle();
    let expected: Vec<_> = [(0, 17), (1, 42), (2, 60), (3, 1514)].map(|(p, l)| padded(frame(l, p))).into();
    assert_eq!(rig.card.take_sent(), expected);
}

#[test]
fn frames_for_others_and_of_a_bad_length_are_refused_by_the_card() {
    let mut rig = Rig::<8>::started(8);
    let to = |first: [u8; 6]| [&first[..], &[0x55; 60]].concat();
    let (own, other, group) = (
        to([0x52, 0x54, 0, 0x12, 0x34, 0x56]),
        to([0x52, 0x54, 0, 0x12, 0x34, 0x57]),
        to([1, 0, 0x5e, 0, 0, 1]),
    );
    let expected = [
        (Filter::Own, [Delivery::Accepted, Delivery::Filtered, Delivery::Filtered]),
        (Filter::Groups, [Delivery::Accepted, Delivery::Filtered, Delivery::Accepted]),
        (Filter::Promiscuous, [Delivery::Accepted; 3]),
    ];
    for (filter, deliveries) in expected {
        rig.nic.set_filter(filter);
        assert_eq!([&own, &other, &group].map(|frame| rig.card.deliver(frame)), deliveries, "{filter:?}");
    }
    assert_eq!(rig.quiesce(), Ok(vec![]));
    rig.start();
    assert_eq!(rig.card.deliver(&other), Delivery::Accepted, "the filter outlives a restart");

    for (length, delivery) in [(59, Delivery::Length), (1518, Delivery::Accepted), (1519, Delivery::Length)] {
        assert_eq!(rig.card.deliver(&frame(length, 1)), delivery, "{length} bytes");
    }
}

#[test]
fn a_frame_that_the_card_damages_is_named_and_counted() {
    let whole = 1 << 32 | 1 << 33;
    let cases = [
        (Fault::Length(0), Damage::Length(0)),
        (Fault::Length(1519), Damage::Length(1519)),
        (Fault::Length(u16::MAX), Damage::Length(u16::MAX)),
        (Fault::Errors(0x81), Damage::Errors(0x81)),
        (Fault::NoEnd, Damage::Piece),
        (Fault::Garbage(u64::MAX), Damage::Errors(0xff)),
        (Fault::Garbage(whole), Damage::Length(0)),
        (Fault::Garbage(whole | 0xffff), Damage::Length(0xffff)),
    ];
    let mut rig = Rig::<8>::started(8);
    for (count, (fault, damage)) in (1..).zip(cases) {
        // What precedes a frame's last piece is no frame, and neither is that.
        rig.post_receive(0);
        rig.nic.ring_doorbells();
        rig.card.inject(fault);
        rig.card.deliver(&frame(80, 1));
        rig.card.settle();
        assert_eq!(rig.poll(10), [Completion::Received { cookie: 0, frame: Err(damage) }], "{fault:?}");
        rig.card.heal();
        if fault == Fault::NoEnd {
            rig.post_receive(1);
            rig.nic.ring_doorbells();
            rig.card.deliver(&frame(80, 1));
            rig.card.settle();
            assert_eq!(rig.poll(10), [Completion::Received { cookie: 1, frame: Err(Damage::Piece) }]);
        }
        let pieces = u64::from(count >= 5);
        assert_eq!(rig.nic.statistics().expect("there").damaged, count + pieces);
    }
    rig.post_receive(2);
    rig.nic.ring_doorbells();
    rig.card.deliver(&frame(80, 1));
    rig.card.settle();
    assert_eq!(rig.poll(10), [received(2, 80)]);
}

#[test]
fn what_is_done_is_not_reported_by_a_card_that_never_says_so() {
    let mut rig = Rig::<8>::started(8);
    rig.card.inject(Fault::Silent);
    rig.post_receive(0);
    rig.post_transmit(1, &frame(60, 1));
    rig.nic.ring_doorbells();
    rig.card.deliver(&frame(60, 2));
    rig.card.settle();
    assert!(rig.poll(10).is_empty());
    assert_eq!(rig.quiesce(), Ok(vec![0, 1]));
}

#[test]
fn frames_wait_while_the_link_is_down() {
    let mut rig = Rig::<8>::started(8);
    rig.card.set_link(None);
    rig.post_transmit(0, &frame(60, 0));
    rig.nic.ring_doorbells();
    rig.card.settle();
    assert!(rig.poll(10).is_empty());
    rig.card.set_link(Some(Speed::Hundred));
    rig.card.settle();
    assert_eq!(rig.poll(10), [Completion::Sent { cookie: 0 }]);
}

#[test]
fn interrupts_come_for_frames_and_links_and_lose_nothing() {
    let mut rig = Rig::<8>::started(8);
    let nothing = Cause::default();
    assert_eq!(rig.nic.interrupt_cause(), Ok(Cause { link: true, ..nothing }), "it came up");
    rig.post_receive(0);
    rig.nic.ring_doorbells();
    rig.card.deliver(&frame(60, 0));
    rig.card.settle();
    assert!(!rig.card.interrupts(), "off");
    rig.nic.set_interrupts(Interrupts::On);
    assert!(rig.card.interrupts(), "what came before interrupts when they go on");
    assert_eq!(rig.nic.interrupt_cause(), Ok(Cause { receive: true, ..nothing }));
    assert!(!rig.card.interrupts());
    assert_eq!(rig.nic.interrupt_cause().map(Cause::any), Ok(false), "another device's");

    rig.post_transmit(1, &frame(60, 0));
    rig.nic.ring_doorbells();
    rig.card.settle();
    assert!(rig.card.interrupts());
    assert_eq!(rig.nic.interrupt_cause(), Ok(Cause { transmit: true, ..nothing }));
    rig.card.set_link(None);
    assert!(rig.card.interrupts());
    rig.nic.set_interrupts(Interrupts::Off);
    assert!(!rig.card.interrupts());
    assert_eq!(rig.nic.interrupt_cause(), Ok(Cause { link: true, ..nothing }));
    rig.card.inject(Fault::Gone);
    assert_eq!(rig.nic.interrupt_cause(), Err(Gone));
}

#[test]
fn counters_grow_over_readings_and_restarts_and_a_card_that_goes_adds_nothing() {
    let mut rig = Rig::<8>::started(16);
    let mut total = 0;
    for round in 1..4 {
        (0..3).for_each(|page| rig.post_receive(page));
        (0..4).for_each(|seed| _ = rig.card.deliver(&frame(100, seed)));
        rig.post_transmit(8, &frame(20, 0));
        rig.nic.ring_doorbells();
        rig.card.settle();
        total += 4;
        if round == 2 {
            let seen = rig.nic.statistics().expect("there");
            assert_eq!((seen.received, seen.received_bytes, seen.broadcasts), (total, total * 104, total));
            assert_eq!((seen.sent, seen.sent_bytes, seen.no_buffer), (2, 2 * 64, 8));
        }
        assert!(rig.quiesce().is_ok());
        rig.start();
    }
    let before = rig.nic.statistics().expect("there");
    assert_eq!((before.received, before.sent, before.missed, before.length_errors), (12, 3, 0, 0));
    rig.card.deliver(&[0xff; 40]);
    while rig.card.deliver(&frame(1514, 1)) == Delivery::Accepted {}
    rig.card.inject(Fault::Gone);
    assert_eq!(rig.nic.statistics(), Err(Gone));
    rig.card.heal();
    let after = rig.nic.statistics().expect("there again");
    assert_eq!((after.missed, after.length_errors), (1, 1));
    assert_eq!(after.received, 12 + (48 << 10) / 1514);
}

#[test]
fn counters_of_a_card_that_goes_while_they_are_read_are_not_believed() {
    let memory = Memory::new(0x8000);
    let leaving = Leaving::new(Card::new(memory.clone()));
    let mut nic = E1000::<_, _, 8>::new(&leaving, memory.ring(0x1000, 16), memory.ring(0x2000, 16));
    nic.start(&mut |time| leaving.card.elapse(time)).expect("it is there");
    leaving.card.deliver(&frame(60, 1));
    for reads in 0..17 {
        leaving.left.set(reads);
        assert_eq!(nic.statistics(), Err(Gone), "after {reads} reads");
        leaving.card.heal();
    }
    leaving.left.set(u32::MAX);
    let seen = nic.statistics().expect("it is back");
    assert!(seen.received <= 1 && seen.missed == 0, "{seen:?}");
}
