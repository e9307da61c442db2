//! Frames made by hand: ICMP, fragments, floods, and several cores at one stack.

use corey_lib_sync::{Quarantine, Relax, Shared};
use corey_test_host_net::{Faults, Random};
use smoltcp::wire::{Icmpv4Message, Icmpv4Packet, IpProtocol, TcpPacket, TcpSeqNumber};

use super::*;
use crate::{Event, Ready};

/// A stack at 10.0.0.1 whose neighbour 10.0.0.2 is a test.
struct Bench {
    wire: Wire,
    stack: Stack<Nic>,
    port: Port,
}

impl Bench {
    fn new() -> Self {
        let wire = Wire::new(100, Faults::default(), 31);
        let mut bench = Self { stack: stack_of(&wire, 1, &config(1, 31)), port: wire.port(), wire };
        // It learns where we are from our asking.
        let mut ask = vec![0xff; 42];
        ask[6..12].copy_from_slice(&station(2));
        ask[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        ask[22..28].copy_from_slice(&station(2));
        ask[28..32].copy_from_slice(&ip(2).octets());
        ask[38..42].copy_from_slice(&ip(1).octets());
        assert!(bench.ask(&ask).iter().any(|answer| answer[12..14] == [8, 6] && answer[20..22] == [0, 2]));
        bench
    }

    /// Sends a frame; what comes back within a millisecond.
    fn ask(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        self.port.send(frame);
        self.wait(1000)
    }

    fn wait(&mut self, micros: u64) -> Vec<Vec<u8>> {
        let end = self.wire.now() + micros;
        while self.wire.now() < end {
            let now = Instant::from_micros(self.wire.now());
            let next = self.stack.poll(now).micros();
            self.wire.advance(next.clamp(self.wire.now() + 1, end));
        }
        std::iter::from_fn(|| self.port.receive()).collect()
    }
}

fn icmp(kind: Icmpv4Message, code: u8, rest: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut message = vec![0; 8];
    message[4..].copy_from_slice(&rest);
    message.extend_from_slice(data);
    let mut view = Icmpv4Packet::new_unchecked(&mut message[..]);
    view.set_msg_type(kind);
    view.set_msg_code(code);
    view.fill_checksum();
    packet(ip(2), IpProtocol::Icmp, &message)
}

fn segment(from: (Ipv4Addr, u16), to: u16, flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    let mut bytes = vec![0; 20];
    let mut view = TcpPacket::new_unchecked(&mut bytes[..]);
    view.set_src_port(from.1);
    view.set_dst_port(to);
    view.set_seq_number(TcpSeqNumber(seq as i32));
    view.set_ack_number(TcpSeqNumber(ack as i32));
    view.set_header_len(20);
    view.set_window_len(60_000);
    view.into_inner()[13] = flags;
    TcpPacket::new_unchecked(&mut bytes[..]).fill_checksum(&from.0.into(), &ip(1).into());
    packet(from.0, IpProtocol::Tcp, &bytes)
}

/// A received segment: port, number, acknowledgement, flags, data.
fn read_segment(frame: &[u8]) -> Option<(u16, u32, u32, u8, Vec<u8>)> {
    let packet = Ipv4Packet::new_checked(frame.get(14..)?).ok()?;
    let view = TcpPacket::new_checked(packet.payload()).ok()?;
    let (seq, ack) = (view.seq_number().0 as u32, view.ack_number().0 as u32);
    Some((view.src_port(), seq, ack, packet.payload()[13], view.payload().to_vec()))
}

#[test]
fn an_echo_comes_back_with_its_data_and_errors_come_back_slowly() {
    let mut bench = Bench::new();
    let data: Vec<u8> = (0..1472).map(|n| n as u8).collect();
    let answers = bench.ask(&icmp(Icmpv4Message::EchoRequest, 0, [1, 2, 3, 4], &data));
    let answer = Ipv4Packet::new_checked(&answers[0][14..]).expect("whole");
    let message = Icmpv4Packet::new_checked(answer.payload()).expect("whole");
    assert!(message.verify_checksum() && message.msg_type() == Icmpv4Message::EchoReply);
    assert_eq!((message.echo_ident(), message.echo_seq_no(), message.data()), (0x102, 0x304, &data[..]));
    let mut broken = icmp(Icmpv4Message::EchoRequest, 0, [1, 2, 3, 4], &data);
    broken[50] ^= 1;
    assert!(bench.ask(&broken).is_empty());
    let mut header = icmp(Icmpv4Message::EchoRequest, 0, [1, 2, 3, 4], &data);
    header[22] ^= 1;
    assert!(bench.ask(&header).is_empty());
    assert_eq!(bench.stack.stats().ipv4_checksum, 1);
    let mut fragment = icmp(Icmpv4Message::EchoRequest, 0, [1, 2, 3, 4], &data);
    let mut view = Ipv4Packet::new_unchecked(&mut fragment[14..]);
    view.set_more_frags(true);
    view.fill_checksum();
    assert!(bench.ask(&fragment).is_empty());
    assert_eq!((bench.stack.stats().transport_checksum, bench.stack.stats().fragments), (1, 1));
    let datagram = packet(ip(2), IpProtocol::Udp, &[0, 9, 0, 9, 0, 8, 0, 0]);
    let errors: usize = (0..100).map(|_| bench.ask(&datagram).len()).sum();
    assert!((10..=15).contains(&errors), "ten at once and fifty a second: {errors}");
    assert_eq!(bench.stack.stats().icmp_limited, 100 - errors as u64);
}

#[test]
fn a_neighbour_that_does_not_answer_is_asked_whether_it_has_moved() {
    let mut bench = Bench::new();
    bench.stack.connect(at(2, 80)).expect("a route");
    let to = |frames: &[Vec<u8>]| -> Vec<u8> {
        frames.iter().filter(|frame| frame[12..14] == [8, 0]).map(|frame| frame[5]).collect()
    };
    let sent = bench.wait(3_500_000);
    assert_eq!(to(&sent), [2, 2, 2], "at 0, 1 and 3 seconds");
    let sent = bench.wait(4_000_000);
    let ask = sent.iter().find(|frame| frame[..6] == [0xff; 6] && frame[12..14] == [8, 6]);
    assert!(to(&sent) == [2] && ask.is_some(), "at 7 seconds");
    let mut moved = vec![0; 42];
    moved[..6].copy_from_slice(&station(1));
    moved[6..12].copy_from_slice(&station(3));
    moved[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
    moved[22..28].copy_from_slice(&station(3));
    moved[28..32].copy_from_slice(&ip(2).octets());
    moved[32..38].copy_from_slice(&station(1));
    moved[38..42].copy_from_slice(&ip(1).octets());
    bench.ask(&moved);
    assert_eq!(to(&bench.wait(9_000_000)), [3], "at 15 seconds");
}

#[test]
fn routers_end_attempts_and_shrink_segments_but_only_with_the_right_number() {
    let mut bench = Bench::new();
    let attempt = bench.stack.connect(at(2, 80)).expect("a route");
    let syn = bench.wait(1000).pop().expect("a SYN");
    let quote = |syn: &[u8]| syn[14..42].to_vec();
    let mut wrong = quote(&syn);
    wrong[24] ^= 1;
    bench.ask(&icmp(Icmpv4Message::DstUnreachable, 1, [0; 4], &wrong));
    assert_eq!(bench.stack.read(attempt, &mut [0]), Err(Error::WouldBlock));
    bench.ask(&icmp(Icmpv4Message::DstUnreachable, 1, [0; 4], &quote(&syn)));
    assert_eq!(bench.stack.read(attempt, &mut [0]), Err(Error::HostUnreachable));
    bench.stack.close(attempt).expect("ours");

    let connection = bench.stack.connect(at(2, 80)).expect("a route");
    let syn = bench.wait(1000).pop().expect("a SYN");
    let (port, seq, ..) = read_segment(&syn).expect("a segment");
    // No option: segments of 536 bytes; so the smaller one a router wants is smaller still.
    bench.ask(&segment((ip(2), 80), port, 0x12, 900, seq + 1));
    assert_eq!(bench.stack.write(connection, &[1; 536]), Ok(536));
    let sent = bench.wait(1000);
    assert_eq!(sent.iter().filter_map(|frame| read_segment(frame)).map(|s| s.4.len()).max(), Some(536));
    // An established connection does not end because a router says so.
    let data = sent.last().expect("the data").clone();
    bench.ask(&icmp(Icmpv4Message::DstUnreachable, 1, [0; 4], &quote(&data)));
    assert_eq!(bench.stack.read(connection, &mut [0]), Err(Error::WouldBlock));
    for (mtu, least) in [(100_u16, 536), (560, 520)] {
        let [high, low] = mtu.to_be_bytes();
        let again = bench.ask(&icmp(Icmpv4Message::DstUnreachable, 4, [0, 0, high, low], &quote(&data)));
        let sizes: Vec<_> = again.iter().filter_map(|frame| read_segment(frame)).map(|s| s.4.len()).collect();
        assert_eq!(sizes.iter().max().copied().unwrap_or(536), least, "{mtu}: {sizes:?}");
    }
    bench.stack.check_all();
}

#[test]
fn a_flood_of_syns_costs_bounded_memory_and_lets_others_in() {
    let mut bench = Bench::new();
    let listener = bench.stack.listen(7, 16).expect("free");
    let mut random = Random::new(5);
    for _ in 0..20_000 {
        let from = (Ipv4Addr::from(0x0a00_0002 + random.below(200) as u32), 1 + random.below(60_000) as u16);
        bench.ask(&segment(from, 7, 2, random.draw() as u32, 0));
    }
    assert_eq!(used(&bench.stack), (16, 0, 0));
    assert!(bench.stack.stats().tcp_half_open_dropped > 19_000);
    bench.stack.check_all();
    let mut to_all = segment((ip(2), 98), 7, 2, 500, 0);
    to_all[..6].fill(0xff);
    assert!(bench.ask(&to_all).is_empty(), "a connection has two ends");
    let answers = bench.ask(&segment((ip(2), 99), 7, 2, 500, 0));
    let answer =
        answers.iter().filter_map(|frame| read_segment(frame)).find(|s| s.3 == 0x12).expect("SYN-ACK");
    assert_eq!((answer.0, answer.2), (7, 501));
    bench.ask(&segment((ip(2), 99), 7, 0x10, 501, answer.1 + 1));
    let connection = bench.stack.accept(listener).expect("it came through");
    // An accepted connection is not touched by what floods.
    bench.ask(&segment((ip(2), 99), 7, 4, 501 + 3000, 0));
    assert_eq!(bench.stack.state(connection), Ok(crate::State::Established));
    assert_eq!(bench.stack.stats().tcp_challenges, 1);
}

/// A link between two stacks of two threads.
struct Pipe {
    host: u8,
    out: std::sync::mpsc::Sender<Vec<u8>>,
    into: std::sync::mpsc::Receiver<Vec<u8>>,
}

impl Link for Pipe {
    fn address(&self) -> EthernetAddress {
        EthernetAddress(station(self.host))
    }

    fn receive<R>(&mut self, take: impl FnOnce(&[u8]) -> R) -> Option<R> {
        self.into.try_recv().ok().map(|frame| take(&frame))
    }

    fn transmit(&mut self, length: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), Full> {
        let mut frame = vec![0; length];
        fill(&mut frame);
        self.out.send(frame).map_err(|_| Full)
    }

    fn flush(&mut self) {}
}

impl Quarantine for Pipe {
    fn quarantine(&mut self) {}
}

struct Core(u16, Option<u16>);

impl Relax for Core {
    fn relax(&mut self) {
        std::thread::yield_now();
    }

    fn holder(&self) -> u16 {
        self.0
    }

    fn is_gone(&self, holder: u16) -> bool {
        self.1 == Some(holder)
    }
}

#[test]
fn several_cores_share_a_stack_and_survive_one_that_is_gone() {
    let ((up, from_up), (down, from_down)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    let now = Instant::from_micros(0);
    let mut client = Stack::new(Pipe { host: 1, out: up, into: from_down }, &config(1, 41), now);
    let mut server = Stack::new(Pipe { host: 2, out: down, into: from_up }, &config(2, 41), now);
    let listener = server.listen(7, 64).expect("free");
    let shared = Shared::new(0, "stack", server);
    let served = core::sync::atomic::AtomicU32::new(0);
    let start = std::time::Instant::now();
    let moment = || Instant::from_micros(start.elapsed().as_micros() as u64);
    std::thread::scope(|scope| {
        for core in 1..=3 {
            let (shared, served) = (&shared, &served);
            scope.spawn(move || {
                let mut core = Core(core, None);
                while served.load(core::sync::atomic::Ordering::Relaxed) < 2000 {
                    let mut stack = shared.lock(&mut core);
                    stack.poll(moment());
                    while stack.event().is_some() {}
                    if let Ok(connection) = stack.accept(listener) {
                        stack.write(connection, &[7; 128]).expect("room");
                        stack.close(connection).expect("open");
                        stack.flush(moment());
                        served.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
                    }
                }
            });
        }
        let mut open = 0;
        let mut done = 0;
        while done < 2000 {
            client.poll(moment());
            while let Some(event) = client.event() {
                let Event::Connection(connection, ready) = event else { continue };
                if ready.contains(Ready::READABLE) {
                    assert_eq!(client.read(connection, &mut [0; 256]), Ok(128));
                    client.close(connection).expect("open");
                    (open, done) = (open - 1, done + 1);
                }
            }
            while open < 16 && done + open < 2000 {
                client.connect(at(2, 7)).expect("a port");
                open += 1;
            }
            client.flush(moment());
            assert!(start.elapsed().as_secs() < 60, "{done} of 2000");
        }
    });
    // Core 1 stops while it holds the lock.
    core::mem::forget(shared.lock(&mut Core(1, None)));
    let mut stack = shared.lock(&mut Core(2, Some(1)));
    assert_eq!((used(&*stack), stack.accept(listener)), ((0, 0, 0), Err(Error::StaleHandle)));
    assert_eq!(stack.address(), Some(ip(2)));
    stack.check_all();
}
