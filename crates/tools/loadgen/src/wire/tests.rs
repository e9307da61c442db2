//! Servers at the other end of a socket, good ones and others.

use std::io::Write;
use std::net::SocketAddrV4;

use corey_lib_bench::served::{MESSAGE, PIECE, REQUEST, character, piece};
use corey_libos_net::{Config, Connection, Error, Event, Instant, Stack};

use super::link::Wire;
use super::*;
use crate::failure::{Failure, Tally};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 15);
const DEADLINE: Duration = Duration::from_millis(300);

/// What a server does with a connection that is new, and with one that has something to say.
#[derive(Clone, Copy)]
struct Treat {
    new: fn(&mut Stack<Wire>, Connection),
    ready: fn(&mut Stack<Wire>, Connection),
}

const NOTHING: fn(&mut Stack<Wire>, Connection) = |_, _| ();

fn plan(load: Load, until: Until) -> Plan {
    let server = SocketAddrV4::new(SERVER, 7000);
    Plan { client: CLIENT, server, load, until, inflight: 32, deadline: DEADLINE }
}

/// The load, on a server at the other end that serves until the wire is cut.
fn loaded(plan: Plan, treat: Treat) -> Outcome {
    let (here, there) = UnixStream::pair().unwrap();
    let server = std::thread::spawn(move || serve(there, treat));
    let outcome = run(here, &plan).unwrap();
    server.join().unwrap();
    outcome
}

fn serve(socket: UnixStream, treat: Treat) {
    let wire = Wire::new(socket, SERVER, DEADLINE).unwrap();
    let start = std::time::Instant::now();
    let now = || Instant::from_micros(start.elapsed().as_micros() as u64);
    let mut stack = Stack::new(wire, &Config::at(SERVER, 24, [1, 2]), now());
    let listener = stack.listen(7000, 1024).unwrap();
    while !stack.link().cut {
        stack.poll(now());
        while let Some(event) = stack.event() {
            match event {
                Event::Accept(_) => {
                    while let Ok(connection) = stack.accept(listener) {
                        (treat.new)(&mut stack, connection);
                    }
                }
                Event::Connection(connection, _) => (treat.ready)(&mut stack, connection),
                _ => {}
            }
        }
        stack.flush(now());
        stack.link().wait();
    }
}

fn send(stack: &mut Stack<Wire>, connection: Connection, bytes: &[u8]) {
    assert_eq!(stack.write(connection, bytes), Ok(bytes.len()));
    stack.close(connection).unwrap();
}

fn short(connections: u64, new: fn(&mut Stack<Wire>, Connection)) -> Outcome {
    loaded(plan(Load::Short, Until::Operations(connections)), Treat { new, ready: NOTHING })
}

#[test]
fn good_connections_are_made_until_there_are_enough() {
    let outcome = short(20_000, |stack, connection| send(stack, connection, &MESSAGE));
    assert_eq!((outcome.report.connections, &outcome.report.failures), (20_000, &Tally::default()));
    assert_eq!((outcome.operations, outcome.retransmitted, outcome.cut), (20_000, 0, false));
}

#[test]
fn a_time_ends_a_load() {
    let until = Until::Time(Duration::from_millis(100));
    let new: fn(&mut Stack<Wire>, Connection) = |stack, connection| send(stack, connection, &MESSAGE);
    let outcome = loaded(plan(Load::Short, until), Treat { new, ready: NOTHING });
    assert!(outcome.operations > 0 && !outcome.cut);
    assert!(outcome.report.elapsed < Duration::from_secs(5));
}

#[test]
fn a_time_is_no_end_for_a_stream_that_the_server_ends() {
    let (here, _there) = UnixStream::pair().unwrap();
    let error = run(here, &plan(Load::Out, Until::Time(DEADLINE))).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

/// Half of a server's connections are good.
fn every_other(stack: &mut Stack<Wire>, connection: Connection, other: impl Fn(&mut Stack<Wire>)) {
    if stack.peer(connection).is_ok_and(|peer| peer.port() % 2 == 0) {
        send(stack, connection, &MESSAGE);
    } else {
        other(stack);
    }
}

fn kinds(outcome: &Outcome) -> Vec<Failure> {
    assert_eq!(outcome.report.connections, 100);
    failures(outcome)
}

fn failures(outcome: &Outcome) -> Vec<Failure> {
    outcome.report.failures.iter().map(|(kind, _)| kind).collect()
}

#[test]
fn misbehaviour_is_counted_by_kind() {
    let few = short(100, |stack, c| every_other(stack, c, |stack| send(stack, c, &MESSAGE[..5])));
    assert_eq!(kinds(&few), [Failure::Short]);
    let long = short(100, |stack, c| every_other(stack, c, |stack| send(stack, c, &[MESSAGE; 2].concat())));
    assert_eq!(kinds(&long), [Failure::Long]);
    let reset = short(100, |stack, c| every_other(stack, c, |stack| stack.abort(c).unwrap()));
    assert_eq!(kinds(&reset), [Failure::Reset]);
    let silent = short(100, |stack, c| every_other(stack, c, |_| ()));
    assert_eq!(kinds(&silent), [Failure::Silent]);
}

/// Sends back what comes, changed so.
fn back(stack: &mut Stack<Wire>, connection: Connection, change: fn(&mut Vec<u8>)) {
    let mut bytes = vec![0; 2 * REQUEST];
    match stack.read(connection, &mut bytes) {
        Ok(0) => stack.close(connection).unwrap(),
        Ok(count) => {
            bytes.truncate(count);
            change(&mut bytes);
            assert_eq!(stack.write(connection, &bytes), Ok(bytes.len()));
        }
        Err(_) => {}
    }
}

fn echo(ready: fn(&mut Stack<Wire>, Connection)) -> Outcome {
    loaded(plan(Load::Echo, Until::Operations(5000)), Treat { new: NOTHING, ready })
}

#[test]
fn requests_come_back_on_all_connections_and_end() {
    let outcome = echo(|stack, connection| back(stack, connection, |_| ()));
    assert_eq!((outcome.operations, &outcome.report.failures), (5000, &Tally::default()));
    assert_eq!((outcome.report.connections, outcome.report.latencies.len()), (32, 5000));
    assert_eq!((outcome.report.bytes, outcome.cut), (5000 * REQUEST as u64, false));
}

/// On connections from odd ports: half the load goes on.
fn sometimes(stack: &mut Stack<Wire>, connection: Connection, change: fn(&mut Vec<u8>)) {
    let odd = stack.peer(connection).is_ok_and(|peer| peer.port() % 2 == 1);
    back(stack, connection, if odd { change } else { |_| () });
}

#[test]
fn an_answer_that_is_another_one_is_wrong_or_long() {
    let wrong = echo(|stack, c| sometimes(stack, c, |bytes| bytes[REQUEST - 1] ^= 1));
    assert_eq!((failures(&wrong), wrong.operations), (vec![Failure::Wrong], 5000));
    let long = echo(|stack, c| sometimes(stack, c, |bytes| bytes.push(7)));
    assert_eq!((failures(&long), long.operations), (vec![Failure::Long], 5000));
}

fn stream(
    load: Load,
    ready: fn(&mut Stack<Wire>, Connection),
    new: fn(&mut Stack<Wire>, Connection),
) -> Outcome {
    loaded(plan(load, Until::Operations(20)), Treat { new, ready })
}

/// Reads to the end, and ends this side then.
fn sink(stack: &mut Stack<Wire>, connection: Connection) {
    let mut bytes = vec![0; PIECE];
    loop {
        match stack.read(connection, &mut bytes) {
            Ok(0) => return stack.close(connection).unwrap(),
            Ok(_) => {}
            Err(error) => return assert_eq!(error, Error::WouldBlock),
        }
    }
}

#[test]
fn a_stream_to_the_server_is_good_when_the_server_ends_it_after_all() {
    let outcome = stream(Load::In, sink, NOTHING);
    assert_eq!((outcome.operations, &outcome.report.failures), (20, &Tally::default()));
    assert_eq!((outcome.report.connections, outcome.report.bytes), (1, 20 * PIECE as u64));
    let early = stream(Load::In, |stack, c| _ = stack.abort(c), NOTHING);
    assert_eq!((failures(&early), early.report.connections), (vec![Failure::Reset], 0));
    let silent = stream(Load::In, NOTHING, NOTHING);
    assert_eq!((failures(&silent), silent.report.connections), (vec![Failure::Silent], 0));
}

/// Sends what a new connection's buffer takes, which is a piece.
fn source(stack: &mut Stack<Wire>, connection: Connection, bytes: &[u8]) {
    assert_eq!(stack.write(connection, bytes), Ok(bytes.len()));
}

#[test]
fn a_stream_from_the_server_is_compared_to_its_end() {
    let one = |new| loaded(plan(Load::Out, Until::Operations(1)), Treat { new, ready: NOTHING });
    let good = one(|stack, c| {
        source(stack, c, piece(0));
        stack.close(c).unwrap();
    });
    assert_eq!((good.operations, good.report.connections, &good.report.failures), (1, 1, &Tally::default()));
    let few = one(|stack, c| send(stack, c, &piece(0)[1..]));
    assert_eq!(failures(&few), [Failure::Wrong]);
    let early = one(|stack, c| send(stack, c, &piece(0)[..PIECE - 1]));
    assert_eq!(failures(&early), [Failure::Short]);
    let silent = one(|stack, c| source(stack, c, &[character(0)]));
    assert_eq!(failures(&silent), [Failure::Silent]);
}

#[test]
fn a_cut_wire_ends_a_load() {
    for load in Load::ALL {
        let (here, there) = UnixStream::pair().unwrap();
        drop(there);
        assert!(run(here, &plan(load, Until::Operations(1))).unwrap().cut, "{load:?}");
    }
}

#[test]
fn bytes_that_are_no_frames_end_a_load() {
    let (here, mut there) = UnixStream::pair().unwrap();
    there.write_all(&[0xff; 64]).unwrap();
    assert!(run(here, &plan(Load::Short, Until::Operations(1))).unwrap().cut);
}
