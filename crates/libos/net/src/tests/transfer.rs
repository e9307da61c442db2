//! Streams over wires that lose, repeat, reorder and corrupt: every byte arrives, in order, and in bounded time.

use corey_test_host_net::{Faults, Peer};

use super::*;
use crate::{Coalescing, TcpConfig};

/// One direction of a stream: what was written, and read.
#[derive(Default)]
struct Flow {
    written: u64,
    read: u64,
    ended: bool,
}

impl Flow {
    fn write(&mut self, total: u64, mut take: impl FnMut(&[u8]) -> usize) {
        while self.written < total {
            let chunk = (total - self.written).min(3000);
            let data: Vec<u8> = (self.written..self.written + chunk).map(pattern).collect();
            let taken = take(&data) as u64;
            self.written += taken;
            if taken < chunk {
                break;
            }
        }
    }

    fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            assert_eq!(*byte, pattern(self.read), "byte {}", self.read);
            self.read += 1;
        }
    }
}

fn taken(result: Result<usize, Error>) -> usize {
    match result {
        Ok(count) => count,
        Err(Error::WouldBlock | Error::NoBuffers) => 0,
        Err(error) => panic!("{error}"),
    }
}

/// Moves what can be moved through one end.
fn turn(
    stack: &mut Stack<Nic>,
    end: Connection,
    out: &mut Flow,
    into: &mut Flow,
    total: u64,
    appetite: usize,
) {
    out.write(total, |data| taken(stack.write(end, data)));
    if out.written == total && !out.ended {
        out.ended = true;
        stack.shutdown(end).expect("once");
    }
    let mut bytes = vec![0; appetite];
    let count = taken(stack.read(end, &mut bytes));
    into.read(&bytes[..count]);
}

/// Carries `total` bytes each way; how long it took, in microseconds.
fn carry(mut pair: Pair, total: u64, appetite: usize) -> (Pair, u64) {
    let (client, server) = pair.connected();
    let (mut up, mut down) = (Flow::default(), Flow::default());
    let start = pair.wire.now();
    let (mut moved, mut last) = (0, start);
    while up.read < total || down.read < total || !up.ended || !down.ended {
        let now = pair.now();
        let Pair { a, b, .. } = &mut pair;
        while a.event().is_some() || b.event().is_some() {}
        turn(a, client, &mut up, &mut down, total, appetite);
        turn(b, server, &mut down, &mut up, total, appetite);
        a.flush(now);
        b.flush(now);
        pair.step(1_000_000);
        if up.read + down.read > moved {
            (moved, last) = (up.read + down.read, pair.wire.now());
        }
        assert!(
            pair.wire.now() - last < 300_000_000,
            "nothing moved for five minutes: {up} {down}",
            up = up.read,
            down = down.read
        );
    }
    let took = pair.wire.now() - start;
    pair.a.close(client).expect("open");
    pair.b.close(server).expect("open");
    pair.run(400_000_000);
    pair.check();
    assert_eq!((used(&pair.a), used(&pair.b)), ((0, 0, 0), (0, 0, 0)), "nothing is left");
    (pair, took)
}

#[test]
fn streams_arrive_whole_at_every_rate_of_faults() {
    // At 20 % of each fault a segment or its acknowledgement is hurt about every other time.
    for (each, total) in [(0, 4 << 20), (10, 2 << 20), (50, 512 << 10), (200, 64 << 10)] {
        for seed in 0..3 {
            let (pair, took) = carry(Pair::new(Faults::all(each), seed), total, 1 << 20);
            let stats = pair.b.stats();
            println!("{each} ‰, seed {seed}: {total} bytes each way in {took} µs; {stats:?}");
            if each > 0 {
                assert!(stats.tcp_retransmitted > 0 && stats.transport_checksum + stats.ipv4_checksum > 0);
                assert!(stats.tcp_out_of_order > 0);
            } else {
                assert_eq!(stats.tcp_retransmitted, 0);
                assert!(took < 8_000_000);
            }
        }
    }
}

#[test]
fn a_large_window_is_scaled_and_filled() {
    let large = |config: &mut Config| {
        config.tcp = TcpConfig { receive_buffer: 1 << 20, send_buffer: 1 << 20, ..config.tcp };
    };
    let (_, usual) = carry(Pair::new(Faults::default(), 14), 8 << 20, 1 << 20);
    let (_, scaled) = carry(Pair::with(Faults::default(), 14, large), 8 << 20, 1 << 20);
    assert!(scaled * 3 < usual, "64 KiB a round trip: {usual} µs; 1 MiB: {scaled} µs");
    carry(Pair::with(Faults::all(10), 15, large), 2 << 20, 1 << 20);
}

#[test]
fn a_stream_whose_numbers_wrap_arrives_whole() {
    for seed in 0.. {
        let mut pair = Pair::new(Faults::default(), seed);
        let witness = pair.wire.port();
        pair.a.connect(at(2, 7)).expect("a route");
        pair.run(2_000);
        let seen = std::iter::from_fn(|| witness.receive());
        let syn =
            seen.into_iter().find(|frame| frame.len() > 47 && frame[12..14] == [8, 0] && frame[47] == 2);
        let number = u32::from_be_bytes(syn.expect("a SYN")[38..42].try_into().expect("four bytes"));
        // The clock moves on by less than the margin until the second pair connects.
        if (u32::MAX - (3 << 20)..u32::MAX - (1 << 16)).contains(&number) {
            carry(Pair::new(Faults::all(20), seed), 4 << 20, 1 << 20);
            return;
        }
    }
}

#[test]
fn two_mebibytes_arrive_over_a_wire_that_loses_a_fifth() {
    let faults = Faults { loss: 200, ..Faults::default() };
    let (_, took) = carry(Pair::new(faults, 9), 2 << 20, 1 << 20);
    println!("2 MiB each way at 20 % loss: {took} µs");
    assert!(took < 3_600_000_000);
}

#[test]
fn a_reader_that_takes_little_closes_the_window_and_probes_reopen_it() {
    let small = |config: &mut Config| {
        config.tcp = TcpConfig { receive_buffer: 2500, send_buffer: 9000, ..config.tcp };
    };
    for each in [0, 100] {
        carry(Pair::with(Faults::all(each), 10, small), 60_000, 111);
    }
    // Nobody reads for minutes; then everything comes.
    let mut pair = Pair::with(Faults { loss: 200, ..Faults::default() }, 11, small);
    let (client, server) = pair.connected();
    assert_eq!(pair.a.write(client, &[5; 8000]), Ok(8000));
    pair.run(400_000_000);
    assert!(pair.a.stats().tcp_probes > 0);
    let (mut seen, mut bytes) = (0, [0; 700]);
    for _ in 0..200 {
        seen += taken(pair.b.read(server, &mut bytes));
        pair.run(1_000_000);
    }
    assert_eq!(seen, 8000);
    pair.check();
}

#[test]
fn who_closed_does_not_wait_for_ever_for_a_reader_that_takes_nothing() {
    let small = |config: &mut Config| {
        config.tcp = TcpConfig { receive_buffer: 2500, send_buffer: 9000, ..config.tcp };
    };
    for closes in [false, true] {
        let mut pair = Pair::with(Faults::default(), 17, small);
        let (client, _) = pair.connected();
        assert_eq!(pair.a.write(client, &[5; 8000]), Ok(8000));
        if closes {
            pair.a.close(client).expect("open");
        }
        pair.run(1_200_000_000);
        assert_eq!(used(&pair.a).0, usize::from(!closes), "who did not close waits");
        pair.check();
    }
}

#[test]
fn a_pool_that_is_too_small_slows_streams_down_and_stops_none() {
    let tight = |config: &mut Config| config.buffers = 64 << 10;
    carry(Pair::with(Faults::all(20), 12, tight), 300_000, 1 << 20);
}

#[test]
fn what_is_lost_is_sent_again_after_the_measured_time_and_then_ever_later() {
    let mut pair = Pair::new(Faults::default(), 16);
    let (client, server) = pair.connected();
    pair.run(1_000_000);
    let start = pair.wire.now();
    pair.wire.set_faults(Faults { loss: 1000, ..Faults::default() });
    assert_eq!(pair.a.write(client, b"lost"), Ok(4));
    let (mut seen, mut at) = (0, Vec::new());
    while at.len() < 4 {
        pair.step(1_000);
        if pair.a.stats().tcp_retransmitted > seen {
            seen = pair.a.stats().tcp_retransmitted;
            at.push((pair.wire.now() - start) / 1000);
        }
    }
    // 200 ms is the least; a round trip on this wire is 1 ms.
    for (moment, expected) in at.iter().zip([200, 600, 1400, 3000]) {
        assert!(moment.abs_diff(expected) <= 10, "{at:?} ms");
    }
    pair.wire.set_faults(Faults::default());
    pair.run(4_000_000);
    assert_eq!(pair.b.read(server, &mut [0; 9]), Ok(4));
}

#[test]
fn small_writes_wait_for_acknowledgements_unless_told_not_to() {
    let mut segments = Vec::new();
    for coalescing in [Coalescing::On, Coalescing::Off] {
        let mut pair = Pair::new(Faults::default(), 13);
        let (client, server) = pair.connected();
        pair.run(100_000);
        pair.a.set_coalescing(client, coalescing).expect("open");
        let before = pair.a.stats().tcp_out;
        for _ in 0..20 {
            pair.a.write(client, b"x").expect("room");
            pair.run(20);
        }
        pair.run(100_000);
        assert_eq!(pair.b.read(server, &mut [0; 64]), Ok(20));
        segments.push(pair.a.stats().tcp_out - before);
    }
    assert!(segments[0] <= 3 && segments[1] == 20, "{segments:?}");
}

#[test]
fn smoltcp_and_we_understand_each_other_both_ways() {
    for (each, total) in [(0, 1 << 20), (10, 256 << 10), (50, 128 << 10), (200, 12 << 10)] {
        for seed in 0..2 {
            for we_connect in [true, false] {
                interoperate(Faults::all(each), seed, total, we_connect);
            }
        }
    }
}

fn interoperate(faults: Faults, seed: u64, total: u64, we_connect: bool) {
    let wire = Wire::new(500, faults, seed);
    let mut ours = stack_of(&wire, 1, &config(1, seed));
    let mut theirs = Peer::new(wire.port(), ip(2), station(2), seed);
    let listener = ours.listen(7, 4).expect("free");
    let socket = if we_connect { theirs.listen(7) } else { theirs.connect((ip(1), 7), 50_000) };
    let mut end = we_connect.then(|| ours.connect(at(2, 7)).expect("a route"));
    let (mut up, mut down) = (Flow::default(), Flow::default());
    while up.read < total || down.read < total || theirs.socket(socket).is_open() {
        let now = wire.now();
        let mut next = ours.poll(Instant::from_micros(now)).micros().min(theirs.poll(now));
        while ours.event().is_some() {}
        if end.is_none() {
            end = ours.accept(listener).ok();
        }
        if end.is_some_and(|end| ours.read(end, &mut []) == Err(Error::HostUnreachable)) {
            // Where every other frame is hurt ARP may fail; an application tries again.
            ours.close(end.expect("there is one")).expect("ours");
            end = Some(ours.connect(at(2, 7)).expect("a route"));
        }
        if let Some(end) = end {
            turn(&mut ours, end, &mut up, &mut down, total, 1 << 20);
        }
        next = next.min(ours.flush(Instant::from_micros(now)).micros());
        let socket = theirs.socket(socket);
        if socket.can_send() {
            down.write(total, |data| socket.send_slice(data).expect("open"));
        }
        if down.written == total && !down.ended {
            down.ended = true;
            socket.close();
        }
        let mut bytes = vec![0; 1 << 16];
        if socket.can_recv() {
            let count = socket.recv_slice(&mut bytes).expect("readable");
            up.read(&bytes[..count]);
            next = now;
        }
        wire.advance(next.clamp(now + 1, now + 1_000_000));
        assert!(now < 3_600_000_000, "{each:?}: {} {}", up.read, down.read, each = faults);
        if end.is_some_and(|end| ours.state(end) == Ok(crate::State::Closed))
            && up.read == total
            && down.read == total
        {
            break;
        }
    }
    let end = end.expect("connected");
    let mut byte = [0];
    assert_eq!((ours.read(end, &mut byte), theirs.socket(socket).can_recv()), (Ok(0), false));
    ours.close(end).expect("ours");
    ours.check_all();
}
