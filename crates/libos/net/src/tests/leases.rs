//! The DHCP client on a wire with a server of the test's own.

use corey_test_host_net::{DhcpServer, Faults, Mood, Station};
use smoltcp::wire::DhcpMessageType;

use super::*;
use crate::{Addressing, Event};

struct Lan {
    wire: Wire,
    stack: Stack<Nic>,
    port: Port,
    server: DhcpServer,
    news: Vec<Option<Ipv4Addr>>,
}

impl Lan {
    fn new(mood: Mood, faults: Faults) -> Self {
        let wire = Wire::new(500, faults, 21);
        let config = Config::new(Addressing::Dhcp, [21, 22]);
        let stack = stack_of(&wire, 1, &config);
        let at = Station { ethernet: station(9), address: ip(9) };
        let server = DhcpServer { mood, ..DhcpServer::new(at, ip(77), 600) };
        Self { port: wire.port(), wire, stack, server, news: Vec::new() }
    }

    /// Lets time pass until so many seconds after the start.
    fn until(&mut self, second: u64) {
        while self.wire.now() < second * 1_000_000 {
            let now = self.wire.now();
            let next = self.stack.poll(Instant::from_micros(now)).micros();
            while let Some(frame) = self.port.receive() {
                let answer = self.server.answer(&frame, now / 1_000_000);
                answer.iter().for_each(|answer| self.port.send(answer));
            }
            while let Some(event) = self.stack.event() {
                if let Event::Address(address) = event {
                    self.news.push(address);
                }
            }
            self.wire.advance(next.clamp(now + 1, second * 1_000_000));
        }
    }

    fn kinds(&self) -> Vec<DhcpMessageType> {
        self.server.asked.iter().map(|asked| asked.kind).collect()
    }
}

use DhcpMessageType::{Discover, Request};

#[test]
fn a_lease_is_taken_renewed_and_given_up_when_the_server_falls_silent() {
    let mut lan = Lan::new(Mood::Willing, Faults::default());
    lan.until(1);
    assert_eq!((lan.kinds(), lan.stack.address()), (vec![Discover, Request], Some(ip(77))));
    assert_eq!(lan.server.asked[0].transaction, lan.server.asked[1].transaction);
    lan.until(599);
    assert_eq!(lan.kinds(), [Discover, Request, Request], "renewed at half the time");
    lan.server.mood = Mood::Silent;
    lan.until(899);
    assert_eq!(lan.stack.address(), Some(ip(77)));
    lan.until(902);
    assert_eq!(
        (lan.stack.address(), lan.news.clone()),
        (None, vec![Some(ip(77)), None]),
        "the second lease has ended"
    );
    let renewals = lan.server.asked.iter().filter(|asked| asked.kind == Request && asked.at > 590).count();
    assert!(
        (4..=8).contains(&renewals),
        "RFC 2131 §4.4.5: half of what is left, a minute at least: {renewals}"
    );
    assert_eq!(lan.stack.connect(at(2, 7)), Err(Error::NoAddress));
    lan.server.mood = Mood::Willing;
    lan.until(980);
    assert_eq!(lan.stack.address(), Some(ip(77)));
}

#[test]
fn a_refusal_starts_again_and_another_address_ends_connections() {
    let mut lan = Lan::new(Mood::Refusing, Faults::default());
    lan.until(5);
    assert_eq!((lan.stack.address(), &lan.kinds()[..4]), (None, &[Discover, Request, Discover, Request][..]));
    lan.server.mood = Mood::Willing;
    lan.until(10);
    let connection = lan.stack.connect(at(2, 7)).expect("an address, and the network");
    lan.server.offers = ip(78);
    lan.until(320);
    assert_eq!((lan.stack.address(), lan.news.clone()), (Some(ip(78)), vec![Some(ip(77)), Some(ip(78))]));
    assert!(matches!(lan.stack.read(connection, &mut [0]), Err(Error::HostUnreachable | Error::NoAddress)));
    lan.server.mood = Mood::Refusing;
    lan.until(700);
    assert_eq!(lan.news.last(), Some(&None), "refused at renewal");
}

#[test]
fn without_a_server_requests_become_rarer_and_loss_only_delays() {
    let mut lan = Lan::new(Mood::Silent, Faults::default());
    lan.until(300);
    let asked: Vec<u64> = lan.server.asked.iter().map(|asked| asked.at).collect();
    let gaps: Vec<u64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (gap, usual) in gaps.iter().zip([4, 8, 16, 32, 64, 64]) {
        assert!(gap.abs_diff(usual) <= 2, "{gaps:?}");
    }
    let mut lan = Lan::new(Mood::Willing, Faults::all(200));
    lan.until(120);
    assert_eq!(lan.stack.address(), Some(ip(77)));
}
