//! Starting, stopping, and cards that do neither.

mod rig;

use corey_drivers_e1000::{
    Cause, Duplex, E1000, Filter, Gone, Interrupts, Link, MacAddress, QuiesceError, Refused, StartError,
};
use corey_kernel_hal::Mmio;
use corey_test_e1000_model::{Card, Delivery, Fault, Memory, Speed};
use rig::{Leaving, Rig, buffer, frame, received};

const IMS: u32 = 0x00d0;
const RCTL: u32 = 0x0100;
const TCTL: u32 = 0x0400;
const TIPG: u32 = 0x0410;
const RAH: u32 = 0x5404;

#[test]
fn a_card_starts_as_the_manual_says() {
    let rig = Rig::<256>::started(1);
    assert_eq!(rig.nic.mac(), Some(MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56])));
    assert_eq!(
        rig.card.read(RCTL),
        1 << 1 | 1 << 15 | 1 << 26,
        "on, broadcasts, no CRC, 2048 bytes, nothing long"
    );
    assert_eq!(rig.card.read(TCTL), 1 << 1 | 1 << 3 | 15 << 4 | 64 << 12);
    assert_eq!(rig.card.read(TIPG), 0x0060_200a);
    assert!((0..128).all(|word| rig.card.read(0x5200 + 4 * word) == 0), "no group");
    assert!((1..16).all(|pair| rig.card.read(RAH + 8 * pair) == 0), "one address");
    assert_eq!(rig.card.read(IMS), 0, "no interrupts");
    for (ring, address) in [(0x2800, 0x1000), (0x3800, 0x3000)] {
        let registers = [0, 4, 8, 0x10, 0x18].map(|at| rig.card.read(ring + at));
        assert_eq!(registers, [address, 0, 4096, 0, 0]);
    }
    assert_eq!((rig.nic.receive_room(), rig.nic.transmit_room()), (255, 255));
}

#[test]
fn a_ring_of_another_length_or_alignment_is_refused_and_the_card_is_not_touched() {
    let memory = Memory::new(0x8000);
    let card = Card::new(memory.clone());
    let rings = [(0x1000, 510, 0x2000, 512), (0x1000, 512, 0x2000, 514), (0x1008, 512, 0x2800, 512)];
    for (receive, receive_words, transmit, transmit_words) in rings {
        let (receive, transmit) =
            (memory.ring(receive, receive_words), memory.ring(transmit, transmit_words));
        let mut nic = E1000::<_, _>::new(card.clone(), receive, transmit);
        assert_eq!(nic.start(&mut |_| panic!("waits for nothing")), Err(StartError::Ring));
        assert_eq!(card.take_accesses(), Default::default());
    }
}

#[test]
fn an_address_that_the_card_did_not_load_comes_from_the_eeprom() {
    let mut rig = Rig::<8>::new(1);
    rig.card.inject(Fault::NotLoaded);
    rig.start();
    assert_eq!(rig.nic.mac().expect("known").to_string(), "52:54:00:12:34:56");
    let own = [&[0x52, 0x54, 0, 0x12, 0x34, 0x56][..], &[0; 54]].concat();
    assert_eq!(rig.card.deliver(&own), Delivery::Accepted);
}

#[test]
fn a_card_without_an_address_or_with_a_group_address_does_not_start() {
    let mut rig = Rig::<8>::new(1);
    rig.card.inject(Fault::NoEeprom);
    let card = rig.card.clone();
    assert_eq!(rig.nic.start(&mut |time| card.elapse(time)), Err(StartError::Address));
    assert_eq!(rig.nic.post_receive(buffer(0), 0), Err(Refused::Full));

    for address in [[1, 0, 0x5e, 0, 0, 1], [0; 6], [0xff; 6]] {
        let memory = Memory::new(0x8000);
        let card = Card::with_address(memory.clone(), address);
        let mut nic = E1000::<_, _, 8>::new(card.clone(), memory.ring(0x1000, 16), memory.ring(0x2000, 16));
        assert_eq!(nic.start(&mut |time| card.elapse(time)), Err(StartError::Address));
        assert_eq!(nic.mac(), None);
    }
}

#[test]
fn a_card_that_is_gone_or_stays_in_reset_is_an_error_in_bounded_time() {
    for (fault, error) in [(Fault::Gone, StartError::Gone), (Fault::StuckReset, StartError::Reset)] {
        let mut rig = Rig::<8>::new(1);
        rig.card.inject(fault);
        let (card, mut waited) = (rig.card.clone(), 0);
        let result = rig.nic.start(&mut |time| {
            card.elapse(time);
            waited += time;
        });
        assert_eq!(result, Err(error));
        assert!(waited < 100_000, "{waited} microseconds");
        assert_eq!(rig.nic.transmit_room(), 0);
        rig.card.heal();
        rig.start();
    }
}

#[test]
fn a_card_that_goes_at_any_access_of_a_start_is_an_error_and_starts_when_it_is_back() {
    let memory = Memory::new(0x8000);
    let leaving = Leaving::new(Card::new(memory.clone()));
    let mut nic = E1000::<_, _, 8>::new(&leaving, memory.ring(0x1000, 16), memory.ring(0x2000, 16));
    let mut accesses = 0;
    loop {
        leaving.card.heal();
        leaving.left.set(accesses);
        let result = nic.start(&mut |time| leaving.card.elapse(time));
        if result.is_ok() && leaving.left.get() > 0 {
            break;
        }
        if result.is_err() {
            assert_eq!(result, Err(StartError::Gone), "after {accesses} accesses");
            assert_eq!(nic.receive_room(), 0);
        }
        accesses += 1;
    }
    assert!(accesses > 150, "it went at {accesses} places");
}

#[test]
fn the_link_is_seen_as_it_is() {
    let rig = Rig::<8>::started(1);
    let up = |speed, duplex| Ok(Link::Up { speed, duplex });
    assert_eq!(rig.nic.link(), up(1000, Duplex::Full));
    rig.card.set_link(Some(Speed::Ten));
    assert_eq!(rig.nic.link(), up(10, Duplex::Half));
    rig.card.set_link(None);
    assert_eq!(rig.nic.link(), Ok(Link::Down));
    rig.card.inject(Fault::Gone);
    assert_eq!(rig.nic.link(), Err(Gone));
}

#[test]
fn every_cookie_comes_back_once_from_a_card_that_stops() {
    for fault in [None, Some(Fault::KeepsRunning), Some(Fault::Silent)] {
        let mut rig = Rig::<8>::started(16);
        fault.inspect(|fault| rig.card.inject(*fault));
        (0..5).for_each(|page| rig.post_receive(page));
        rig.nic.ring_doorbells();
        (8..12).for_each(|page| rig.post_transmit(page, &frame(100, page)));
        rig.nic.ring_doorbells();
        rig.card.step_transmit();
        (0..3).for_each(|seed| _ = rig.card.deliver(&frame(100, seed)));
        // Two more, of which the card never hears.
        rig.post_receive(5);
        rig.post_transmit(12, &frame(100, 12));
        assert_eq!(rig.quiesce(), Ok(vec![0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12]));

        let writes = rig.memory.card_writes();
        assert_eq!(rig.card.deliver(&frame(100, 3)), Delivery::Deaf);
        rig.card.settle();
        assert_eq!(rig.memory.card_writes(), writes);
        assert!(rig.poll(100).is_empty());
        assert_eq!(rig.nic.post_receive(buffer(0), 0), Err(Refused::Full));
        assert_eq!(rig.nic.post_transmit(buffer(0), 60, 0), Err(Refused::Full));
        rig.nic.set_interrupts(Interrupts::On);
        rig.nic.set_filter(Filter::Promiscuous);
        assert_eq!((rig.card.read(IMS), rig.card.read(RCTL)), (0, 0));
        assert_eq!(rig.quiesce(), Ok(vec![]), "a second time");
    }
}

#[test]
fn a_card_that_does_not_stop_keeps_its_buffers_until_the_bus_is_taken_from_it() {
    for (fault, error) in [(Fault::StuckReset, QuiesceError::Reset), (Fault::Gone, QuiesceError::Gone)] {
        let mut rig = Rig::<8>::started(8);
        rig.post_receive(0);
        rig.nic.ring_doorbells();
        rig.card.deliver(&frame(60, 1));
        rig.card.inject(fault);
        assert_eq!(rig.quiesce(), Err(error));
        assert_eq!(rig.nic.post_receive(buffer(1), 1), Err(Refused::Full));
        let writes = rig.memory.card_writes();
        rig.card.settle();
        let wrote = rig.memory.card_writes() > writes;
        assert_eq!(wrote, fault == Fault::StuckReset, "it was right not to trust the card");

        let card = rig.card.clone();
        assert_eq!(rig.nic.start(&mut |time| card.elapse(time)), Err(StartError::Outstanding));
        let mut cookies = Vec::new();
        rig.nic.give_back(&mut |cookie| cookies.push(cookie));
        assert_eq!(cookies, [0]);
        rig.card.heal();
        rig.start();
    }
}

#[test]
fn a_card_whose_reset_does_nothing_stops_and_starts_all_the_same() {
    let mut rig = Rig::<8>::started(8);
    rig.card.inject(Fault::NoReset);
    (0..3).for_each(|page| rig.post_receive(page));
    rig.post_transmit(3, &frame(60, 3));
    rig.nic.ring_doorbells();
    rig.card.deliver(&frame(60, 1));
    rig.card.settle();
    rig.nic.set_interrupts(Interrupts::On);
    assert_eq!(rig.quiesce(), Ok(vec![0, 1, 2, 3]));
    let writes = rig.memory.card_writes();
    assert_eq!(rig.card.deliver(&frame(60, 2)), Delivery::Deaf);
    rig.card.settle();
    assert_eq!(rig.memory.card_writes(), writes);

    rig.start();
    assert_eq!(rig.nic.interrupt_cause(), Ok(Cause::default()), "causes of before are forgotten");
    rig.nic.set_interrupts(Interrupts::Off);
    rig.post_receive(4);
    rig.nic.ring_doorbells();
    assert_eq!(rig.card.deliver(&frame(60, 2)), Delivery::Accepted);
    rig.card.settle();
    assert_eq!(rig.poll(10), [received(4, 60)]);
}
