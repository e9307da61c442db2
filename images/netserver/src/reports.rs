//! What a core tells of its stacks every so often, and the first one of the machine's memory.

use corey_abi::{AuditReport, Id, MachineCalls, PAGE_BYTES};
use corey_libos_card::Way;
use corey_libos_net::Instant;
use corey_libos_rt::println;
use corey_libos_rt::sys::{address_mut, sys};

use crate::server::Server;

/// When the next report is due.
pub(crate) struct Reports {
    /// Microseconds between them; `None`: there are none.
    every: Option<u64>,
    next: Instant,
    /// The key to the audit.
    boot: Id,
}

impl Reports {
    pub(crate) fn new(every: Option<u64>, boot: Id) -> Self {
        let next = every.map_or(Instant::NEVER, Instant::from_micros);
        Self { every, next, boot }
    }

    /// Tells of `servers` if it is time. The core that has card 0 stops all cores for the audit.
    #[inline(always)]
    pub(crate) fn turn<W: Way>(&mut self, now: Instant, servers: &[Server<W>]) {
        if now >= self.next {
            self.tell(now, servers);
        }
    }

    #[cold]
    fn tell<W: Way>(&mut self, now: Instant, servers: &[Server<W>]) {
        self.next = self.every.map_or(Instant::NEVER, |every| now.after(every));
        servers.iter().for_each(Server::tell);
        if servers.iter().any(Server::is_first) {
            audit(self.boot);
        }
    }
}

fn audit(boot: Id) {
    let mut report = AuditReport::default();
    let result = sys().audit(boot, address_mut(&mut report));
    println!(
        "{{\"record\":\"audit\",\"sound\":{},\"free\":{},\"frames\":{},\"objects\":{}}}",
        result.is_ok() && report.is_sound(),
        report.free * PAGE_BYTES,
        report.frames,
        report.objects,
    );
}
