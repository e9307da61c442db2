//! What each call and each protocol does when nothing goes wrong, and what the calls say when something does.

use std::vec::Vec;

use corey_test_host_net::Faults;

use super::*;
use crate::{Event, Ready, State};

#[test]
fn a_fixed_address_is_news_once() {
    let mut pair = Pair::new(Faults::default(), 1);
    assert_eq!(pair.a.event(), Some(crate::Event::Address(Some(ip(1)))));
    assert_eq!(pair.a.event(), None);
}

#[test]
fn a_datagram_arrives_and_its_answer_comes_back() {
    let mut pair = Pair::new(Faults::default(), 1);
    let server = pair.b.bind(7).expect("free");
    let client = pair.a.bind(0).expect("free");
    pair.a.send_to(client, at(2, 7), b"ping").expect("a route");
    pair.run(10_000);
    let mut bytes = [0; 64];
    let (length, from) = pair.b.recv_from(server, &mut bytes).expect("it arrived");
    assert_eq!((&bytes[..length], *from.ip()), (&b"ping"[..], ip(1)));
    pair.b.send_to(server, from.into(), b"pong!").expect("a route");
    pair.run(10_000);
    assert_eq!(pair.a.recv_from(client, &mut bytes[..2]).map(|(length, _)| length), Ok(5));
    assert_eq!(&bytes[..2], b"po", "the rest is lost");
    assert_eq!(pair.a.recv_from(client, &mut bytes), Err(Error::WouldBlock));
    pair.check();
    assert_eq!(pair.a.send_to(client, at(2, 7), &[0; 1473]), Err(Error::MessageTooLong));
    assert_eq!(pair.a.send_to(client, at(2, 7), &[0; 1472]), Ok(()));
    assert_eq!(pair.b.bind(7), Err(Error::AddressInUse));
    pair.b.unbind(server).expect("it is ours");
    assert_eq!(pair.b.recv_from(server, &mut bytes), Err(Error::StaleHandle));
    pair.run(10_000);
    pair.a.send_to(client, at(2, 7), b"nobody").expect("a route");
    pair.run(10_000);
    assert_eq!((pair.b.stats().udp_no_socket, pair.a.stats().icmp_ignored), (2, 2));
    pair.check();
}

#[test]
fn a_connection_carries_both_ways_and_closes() {
    let mut pair = Pair::new(Faults::default(), 2);
    let (client, server) = pair.connected();
    assert_eq!(pair.a.write(client, b"hello"), Ok(5));
    pair.run(10_000);
    let mut bytes = [0; 64];
    assert_eq!(pair.b.read(server, &mut bytes), Ok(5));
    assert_eq!(pair.b.read(server, &mut bytes), Err(Error::WouldBlock));
    assert_eq!(pair.b.write(server, b"good day"), Ok(8));
    pair.b.close(server).expect("it is open");
    assert_eq!(pair.b.write(server, b"x"), Err(Error::StaleHandle));
    pair.run(10_000);
    assert_eq!(pair.a.state(client), Ok(State::CloseWait));
    assert_eq!((pair.a.read(client, &mut bytes), pair.a.read(client, &mut bytes)), (Ok(8), Ok(0)));
    assert_eq!(pair.a.peer(client).map(SocketAddr::from), Ok(at(2, 7)));
    pair.a.close(client).expect("it is open");
    pair.run(10_000);
    pair.check();
    assert_eq!((used(&pair.a), used(&pair.b)), ((0, 0, 0), (0, 1, 0)));
    pair.run(61_000_000);
    assert_eq!(used(&pair.b), (0, 0, 0), "TIME_WAIT has ended");
    pair.check();
}

#[test]
fn a_server_that_answers_and_closes_at_once_sends_three_frames() {
    let mut pair = Pair::new(Faults::default(), 3);
    let listener = pair.b.listen(7, 8).expect("free");
    let client = pair.a.connect(at(2, 7)).expect("a route");
    let mut sizes = Vec::new();
    while pair.wire.now() < 100_000 {
        pair.step(10_000);
        while let Some(event) = pair.b.event() {
            if event == Event::Accept(listener) {
                let server = pair.b.accept(listener).expect("it said so");
                pair.b.write(server, &[7; 128]).expect("room");
                pair.b.close(server).expect("open");
                pair.b.flush(pair.now());
            }
        }
        while let Some(event) = pair.a.event() {
            if let Event::Connection(_, ready) = event
                && ready.contains(Ready::READABLE)
            {
                let mut bytes = [0; 256];
                sizes.push(pair.a.read(client, &mut bytes).expect("readable"));
                if sizes.len() == 1 {
                    assert_eq!(pair.a.read(client, &mut bytes), Ok(0), "data and its end came together");
                    pair.a.close(client).expect("open");
                }
            }
        }
    }
    assert_eq!(sizes, [128]);
    // SYN-ACK, data with FIN, last acknowledgement; SYN, acknowledgement twice, FIN.
    assert_eq!((pair.b.stats().tcp_out, pair.b.stats().tcp_in), (3, 4));
    assert_eq!((used(&pair.a), used(&pair.b)), ((0, 0, 0), (0, 1, 0)));
    pair.check();
}

#[test]
fn errors_say_what_happened() {
    let mut pair = Pair::new(Faults::default(), 4);
    let wait = |pair: &mut Pair, connection, micros| {
        pair.run(micros);
        let error = pair.a.read(connection, &mut [0; 1]);
        pair.a.close(connection).expect("a closed connection's handle is the application's");
        error
    };
    let refused = pair.a.connect(at(2, 9)).expect("a route");
    assert_eq!(wait(&mut pair, refused, 10_000), Err(Error::ConnectionRefused));
    let nobody = pair.a.connect(at(99, 9)).expect("on this network");
    assert_eq!(wait(&mut pair, nobody, 6_000_000), Err(Error::HostUnreachable));
    let (client, server) = pair.connected();
    pair.b.abort(server).expect("open");
    assert_eq!(wait(&mut pair, client, 10_000), Err(Error::ConnectionReset));
    pair.wire.set_faults(Faults { loss: 1000, ..Faults::default() });
    let silent = pair.a.connect(at(2, 7)).expect("a route");
    assert_eq!(wait(&mut pair, silent, 200_000_000), Err(Error::HostUnreachable), "ARP has expired");
    let far = "192.0.2.1:80".parse().expect("an address");
    assert_eq!(pair.a.connect(far), Err(Error::NetworkUnreachable));
    assert_eq!(pair.a.connect("[::1]:80".parse().expect("an address")), Err(Error::Unsupported));
    assert_eq!(pair.a.connect(at(1, 80)), Err(Error::Unsupported));
    assert_eq!(pair.a.connect(at(2, 0)), Err(Error::InvalidAddress));
    assert_eq!(pair.a.connect(at(255, 1)), Err(Error::InvalidAddress));
    assert_eq!(pair.a.read(client, &mut [0; 1]), Err(Error::StaleHandle));
    assert_eq!(pair.b.listen(7, 1), Err(Error::AddressInUse));
    pair.check();
    assert_eq!(used(&pair.a).0, 0);
}

#[test]
fn a_peer_that_falls_silent_is_given_up_in_time() {
    let mut pair = Pair::with(Faults::default(), 5, |config| config.tcp.keep_alive = Some(10_000_000));
    let (client, server) = pair.connected();
    pair.run(60_000_000);
    assert_eq!(pair.a.state(client), Ok(State::Established), "probes are answered");
    pair.wire.set_faults(Faults { loss: 1000, ..Faults::default() });
    pair.b.write(server, b"into the void").expect("room");
    pair.run(800_000_000);
    assert_eq!(pair.a.read(client, &mut [0; 1]), Err(Error::TimedOut), "keep-alive");
    assert_eq!(pair.b.read(server, &mut [0; 1]), Err(Error::TimedOut), "retransmission");
    pair.check();
}

#[test]
fn closing_with_unread_data_resets_and_so_does_data_after_close() {
    let mut pair = Pair::new(Faults::default(), 6);
    let (client, server) = pair.connected();
    pair.a.write(client, b"unread").expect("room");
    pair.run(10_000);
    pair.b.close(server).expect("open");
    pair.run(10_000);
    assert_eq!(pair.a.write(client, b"x"), Err(Error::ConnectionReset));
    pair.a.close(client).expect("ours");

    let client = pair.a.connect(at(2, 7)).expect("a route");
    pair.run(10_000);
    let listener = pair.listener.expect("it was connected");
    let server = pair.b.accept(listener).expect("it arrived");
    pair.b.close(server).expect("open");
    pair.run(10_000);
    assert_eq!(pair.a.state(client), Ok(State::CloseWait));
    pair.a.write(client, b"too late").expect("room");
    pair.run(10_000);
    assert_eq!(pair.a.read(client, &mut [0; 1]), Err(Error::ConnectionReset));
    assert_eq!((used(&pair.a).0, used(&pair.b)), (1, (0, 0, 0)));
    pair.check();
}

#[test]
fn a_full_backlog_drops_the_oldest_half_open_and_keeps_what_is_complete() {
    let mut pair = Pair::new(Faults::default(), 7);
    let listener = pair.b.listen(7, 4).expect("free");
    // So that SYNs do not wait for ARP, where there is room for one.
    let socket = pair.a.bind(0).expect("free");
    pair.a.send_to(socket, at(2, 9), b"hello").expect("a route");
    pair.run(10_000);
    let clients: Vec<_> = (0..10).map(|_| pair.a.connect(at(2, 7)).expect("a route")).collect();
    pair.run(300_000);
    pair.check();
    let complete = (0..10).take_while(|_| pair.b.accept(listener).is_ok()).count();
    assert_eq!(complete, 4);
    pair.run(20_000_000);
    let more = (0..10).take_while(|_| pair.b.accept(listener).is_ok()).count();
    // One that was dropped after its answer had left finds nobody, and is reset; others try again.
    let mut reset = 0;
    for client in &clients {
        reset += usize::from(pair.a.read(*client, &mut [0; 1]) == Err(Error::ConnectionReset));
    }
    assert_eq!((complete + more + reset, reset as u64), (10, pair.b.stats().tcp_resets_out));
    assert!(more > 0);
    assert!(clients.iter().all(|client| pair.a.state(*client).is_ok()));
    pair.b.unlisten(listener).expect("ours");
    assert_eq!(pair.b.accept(listener), Err(Error::StaleHandle));
    pair.check();
}

#[test]
fn both_may_close_at_the_same_time() {
    let mut pair = Pair::new(Faults::default(), 8);
    let (client, server) = pair.connected();
    pair.run(1_000_000);
    pair.a.close(client).expect("open");
    pair.b.close(server).expect("open");
    pair.run(100_000);
    assert_eq!((used(&pair.a), used(&pair.b)), ((0, 1, 0), (0, 1, 0)), "both wait");
    pair.check();
}
