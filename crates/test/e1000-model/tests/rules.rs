//! Each rule of the model, broken once.

use corey_kernel_hal::{Dma, Mmio};
use corey_test_e1000_model::{Card, Delivery, Fault, Memory, Ring, Speed};

const CTRL: u32 = 0x0000;
const RCTL: u32 = 0x0100;
const TCTL: u32 = 0x0400;
const TIPG: u32 = 0x0410;
const RECEIVE: u32 = 0x2800;
const TRANSMIT: u32 = 0x3800;
const LENGTH: u32 = 0x08;
const HEAD: u32 = 0x10;
const TAIL: u32 = 0x18;
const ON: u32 = 1 << 1;
const RECEIVER: u32 = ON | 1 << 15 | 1 << 26;
const SEND: u64 = 60 | 1 << 24 | 1 << 25 | 1 << 27;

/// A card with rings of 8 descriptors, link up, both ways on.
fn running() -> (Card, Ring, Ring, Memory) {
    let memory = Memory::new(0x8000);
    let card = Card::new(memory.clone());
    for (ring, address) in [(RECEIVE, 0x1000), (TRANSMIT, 0x2000)] {
        card.write(ring, address);
        card.write(ring + LENGTH, 128);
    }
    card.write(CTRL, 1 << 6);
    card.write(TIPG, 0x0060_200a);
    card.write(RCTL, RECEIVER);
    card.write(TCTL, ON | 1 << 3);
    (card, memory.ring(0x1000, 16), memory.ring(0x2000, 16), memory)
}

fn post(card: &Card, ring: &Ring, registers: u32, slot: usize, word: u64) {
    ring.store(2 * slot, 0x4000);
    ring.store(2 * slot + 1, word);
    card.write(registers + TAIL, (slot as u32 + 1) % 8);
}

fn stop(card: &Card) {
    card.write(RCTL, 0);
    card.write(TCTL, 0);
}

fn reset(card: &Card) {
    stop(card);
    card.elapse(1000);
    card.write(CTRL, 1 << 26);
}

/// A rule: the test that breaks it, and what the failure says.
macro_rules! broken {
    ($($name:ident: $says:literal, $body:expr;)*) => {$(
        #[test]
        #[should_panic(expected = $says)]
        fn $name() {
            let body: fn(Card, Ring, Ring) = $body;
            let (card, receive, transmit, _) = running();
            body(card, receive, transmit);
        }
    )*};
}

broken! {
    a_ring_that_is_not_aligned: "not aligned to 16", |card, _, _| { card.write(RCTL, 0); card.write(RECEIVE, 0x1008); };
    a_ring_of_an_odd_length: "length 0x70", |card, _, _| { card.write(RCTL, 0); card.write(RECEIVE + LENGTH, 112); };
    a_receiver_without_a_ring: "enabled without a ring", |card, _, _| {
        card.write(RCTL, 0);
        card.write(RECEIVE + LENGTH, 0);
        card.write(RCTL, RECEIVER);
    };
    a_base_that_moves_while_the_ring_is_used: "while it is enabled", |card, _, _| card.write(RECEIVE, 0x3000);
    a_head_that_moves_while_the_ring_is_used: "while it is enabled", |card, _, _| card.write(TRANSMIT + HEAD, 0);
    a_tail_beyond_the_ring: "tail 8 of 8", |card, _, _| card.write(RECEIVE + TAIL, 8);
    a_tail_that_goes_back: "past the head", |card, receive, _| {
        (0..3).for_each(|slot| post(&card, &receive, RECEIVE, slot, 0));
        card.write(RECEIVE + TAIL, 1);
    };
    a_descriptor_that_changes_while_it_is_the_cards: "descriptor 0 changed", |card, receive, _| {
        post(&card, &receive, RECEIVE, 0, 0);
        receive.store(0, 0x5000);
        card.audit();
    };
    a_descriptor_that_changes_before_the_card_works_on_it: "descriptor 0 changed", |card, _, transmit| {
        post(&card, &transmit, TRANSMIT, 0, SEND);
        transmit.store(1, SEND | 1);
        card.step_transmit();
    };
    a_descriptor_that_is_done_before_it_begins: "with DD set", |card, receive, _|
        post(&card, &receive, RECEIVE, 0, 1 << 32);
    a_buffer_that_is_not_memory: "are not in memory", |card, receive, _| {
        receive.store(0, 0x7fff);
        receive.store(1, 0);
        card.write(RECEIVE + TAIL, 1);
        card.deliver(&[0xff; 60]);
        card.settle();
    };
    a_frame_that_is_too_short_to_pad: "too short to pad", |card, _, transmit| {
        post(&card, &transmit, TRANSMIT, 0, SEND - 44);
        card.settle();
    };
    a_short_frame_without_padding: "padding is off", |card, _, transmit| {
        card.write(TCTL, ON);
        post(&card, &transmit, TRANSMIT, 0, SEND - 1);
        card.settle();
    };
    an_extended_descriptor: "extended descriptors are not", |card, _, transmit| {
        post(&card, &transmit, TRANSMIT, 0, SEND | 1 << 29);
        card.settle();
    };
    crcs_in_memory: "not modelled", |card, _, _| card.write(RCTL, ON);
    a_transmitter_without_gaps: "TIPG", |card, _, _| { card.write(TIPG, 0); card.write(TCTL, ON); };
    a_register_that_is_not_there: "no register 0x10000", |card, _, _| card.write(0x10000, 0);
    a_register_that_is_not_a_word: "a register at 0x2", |card, _, _| card.write(2, 0);
    a_reset_while_frames_move: "while the card receives or sends", |card, _, _| card.write(CTRL, 1 << 26);
    a_reset_too_soon: "too soon after frames moved", |card, _, _| {
        stop(&card);
        card.elapse(999);
        card.write(CTRL, 1 << 26);
    };
    a_reset_with_interrupts_on: "with interrupts on", |card, _, _| {
        card.write(0xd0, 1);
        reset(&card);
    };
    an_address_that_is_read_before_it_is_loaded: "while the card reads its EEPROM", |card, _, _| {
        reset(&card);
        card.elapse(1999);
        card.read(0x5400);
    };
    a_register_that_is_touched_in_reset: "within a microsecond of a reset", |card, _, _| {
        reset(&card);
        card.read(CTRL);
    };
}

#[test]
fn a_reset_takes_time_forgets_rings_and_loads_the_address_later() {
    let (card, receive, _, memory) = running();
    post(&card, &receive, RECEIVE, 0, 0);
    assert_eq!(card.deliver(&[0xff; 60]), Delivery::Accepted);
    reset(&card);
    card.elapse(1);
    assert_eq!(card.read(CTRL), 1 << 26);
    card.elapse(49);
    assert_eq!(card.read(CTRL), 0);
    assert_eq!((card.read(RECEIVE), card.read(RECEIVE + TAIL), card.read(RCTL)), (0, 0, 0));
    card.settle();
    assert_eq!(memory.card_writes(), 0);
    card.elapse(2000);
    assert_eq!(card.read(0x5404), 1 << 31 | 0x5634);
}

#[test]
fn a_frame_that_is_longer_than_a_buffer_takes_several_and_only_the_last_ends_it() {
    let (card, receive, _, memory) = running();
    card.write(RCTL, RECEIVER | 3 << 16);
    for slot in 0..3 {
        receive.store(2 * slot, 0x4000 + 0x100 * slot as u64);
        receive.store(2 * slot + 1, 0);
    }
    card.write(RECEIVE + TAIL, 2);
    let frame: Vec<u8> = (0..600).map(|at| if at < 6 { 0xff } else { at as u8 }).collect();
    assert_eq!(card.deliver(&frame), Delivery::Accepted);
    assert!(!card.step_receive(), "it waits for all of its buffers");
    card.write(RECEIVE + TAIL, 3);
    card.settle();
    assert_eq!([1, 3, 5].map(|word| receive.load(word)), [1 << 32 | 256, 1 << 32 | 256, 3 << 32 | 88]);
    assert_eq!(memory.bytes(0x4000, 600), frame);
    assert_eq!(card.read(RECEIVE + HEAD), 3);
}

#[test]
fn a_frame_in_several_descriptors_is_one_and_only_reports_are_written() {
    let (card, _, transmit, memory) = running();
    memory.fill(0x4000, &[7; 60]);
    post(&card, &transmit, TRANSMIT, 0, 40);
    post(&card, &transmit, TRANSMIT, 1, SEND);
    card.settle();
    assert_eq!(card.take_sent(), [vec![7; 100]]);
    assert_eq!((transmit.load(1), transmit.load(3)), (40, SEND | 1 << 32));
    assert_eq!(memory.card_writes(), 1);
}

#[test]
fn groups_are_chosen_by_address_and_by_table() {
    let (card, ..) = running();
    let mut frame = vec![1, 0, 0x5e, 0, 0x34, 0x12];
    frame.resize(60, 0);
    (0..128).for_each(|word| card.write(0x5200 + 4 * word, 0));
    assert_eq!(card.deliver(&frame), Delivery::Filtered);
    // Bits 47:36 of the address: 0x123, word 9, bit 3.
    card.write(0x5200 + 4 * 9, 1 << 3);
    assert_eq!(card.deliver(&frame), Delivery::Accepted);
    frame[5] = 0x13;
    assert_eq!(card.deliver(&frame), Delivery::Filtered);
    card.write(0x5408, 0x005e_0001);
    card.write(0x540c, 1 << 31 | 0x1334);
    assert_eq!(card.deliver(&frame), Delivery::Accepted);
}

#[test]
fn counters_clear_when_read_and_the_fifo_has_an_end() {
    let (card, ..) = running();
    (0x4000..0x4100).step_by(4).for_each(|counter| _ = card.read(counter));
    let mut accepted = 0;
    while card.deliver(&[0xff; 1024]) == Delivery::Accepted {
        accepted += 1;
    }
    assert_eq!(accepted, 48);
    assert_eq!((card.read(0x4010), card.read(0x4074), card.read(0x4074)), (1, 48, 0));
    assert_eq!((card.read(0x4088), card.read(0x4088), card.read(0x408c)), (48 * 1028, 48 * 1028, 0));
    assert_eq!(card.read(0x4088), 0);
    assert_eq!(card.read(0x40a0), 48, "no buffer was there");
}

#[test]
fn the_link_needs_a_cable_and_the_drivers_word() {
    let (card, ..) = running();
    let link = |card: &Card| card.read(8) & 2 != 0;
    assert!(link(&card));
    card.set_link(None);
    assert!(!link(&card));
    assert_eq!(card.deliver(&[0xff; 60]), Delivery::Deaf);
    card.set_link(Some(Speed::Hundred));
    assert_eq!(card.read(8), 0x43);
    card.write(CTRL, 0);
    assert!(!link(&card));
    assert_eq!(card.read(0xc0) & 4, 4, "a cause");
    assert_eq!(card.read(0xc0), 0, "once");
}

#[test]
fn a_card_that_is_gone_says_all_ones_and_hears_nothing() {
    let (card, receive, _, memory) = running();
    post(&card, &receive, RECEIVE, 0, 0);
    card.deliver(&[0xff; 60]);
    card.inject(Fault::Gone);
    card.settle();
    card.write(RCTL, 0);
    assert_eq!((card.read(RCTL), memory.card_writes()), (u32::MAX, 0));
    card.heal();
    assert_eq!(card.read(RCTL), RECEIVER);
    card.settle();
    assert_eq!(memory.card_writes(), 2, "the frame, then its descriptor");
}
