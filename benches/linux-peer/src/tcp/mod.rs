//! Servers: a network card, an address and a listener for each processor, or one for all.

mod bulk;
mod echo;
mod short;

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use corey_lib_bench::served::{Load, PORT, Served, server};
use corey_lib_bench::{Place, Span, table};

use crate::figures::read;
use crate::guest::Failure;

/// What a client does whom this job serves.
const fn load(id: u32) -> Load {
    match id {
        table::TCP_ECHO => Load::Echo,
        table::TCP_BULK_IN => Load::In,
        table::TCP_BULK_OUT => Load::Out,
        _ => Load::Short,
    }
}

/// A processor's part of the operations before and after the region: of one card, where all processors share that.
const fn part(id: u32, cores: u32, all: u64) -> u64 {
    if id == table::TCP_SHARED { all.div_ceil(cores as u64) } else { all }
}

/// What is printed when the listeners of a job are there, for the client of each.
pub(crate) fn served(id: u32, cores: u32, iters: u64) -> impl Iterator<Item = Served> {
    let load = load(id);
    let (cards, servers) = if id == table::TCP_SHARED { (1, cores) } else { (cores, 1) };
    let each = part(id, cores, load.warm()) + iters + part(id, cores, load.cool());
    (0..cards as u8).map(move |card| Served { card, load, operations: u64::from(servers) * each })
}

/// Serves a client until it has all it asked for.
pub(crate) fn serve(id: u32, place: Place<'_>, listeners: &[TcpListener]) -> Result<Span, Failure> {
    let listener = listeners.get(place.core as usize).or_else(|| listeners.first());
    let listener = listener.expect("this job has listeners");
    match id {
        table::TCP_KERNELCORE => short::serve::<{ table::TCP_KERNELCORE }>(place, listener),
        table::TCP_STACK => short::serve::<{ table::TCP_STACK }>(place, listener),
        table::TCP_SHARED => short::serve::<{ table::TCP_SHARED }>(place, listener),
        table::TCP_ECHO => echo::serve(place, listener),
        table::TCP_BULK_IN => bulk::receive(place, listener),
        table::TCP_BULK_OUT => bulk::send(place, listener),
        other => Err(Failure::panic(format!("benchmark id {other:#x} has no server"))),
    }
}

/// The driver, beside this program.
const DRIVER: &str = "/e1000.ko.xz";
/// `finit_module` unpacks the file.
const COMPRESSED: libc::c_int = 4;
/// Longest wait for a card's link.
const PATIENCE: Duration = Duration::from_secs(60);

/// Brings up a card for each of `cores` processors, or one for all, and listens on its address. A card's interrupts, and so
/// what is done for the frames they tell of, go to its processor; in `kernelcore` to one that has no server.
pub(crate) fn listen(id: u32, cores: u32) -> Result<Vec<TcpListener>, Failure> {
    if !Path::new("/sys/class/net/eth0").exists() {
        load_driver()?;
    }
    let cards = if id == table::TCP_SHARED { 1 } else { cores };
    let away = if id == table::TCP_KERNELCORE { cores } else { 0 };
    (0..cards).map(|card| one(card, away + card)).collect()
}

fn one(core: u32, interrupted: u32) -> Result<TcpListener, Failure> {
    let (card, name) = (core as u8, format!("eth{core}"));
    if !Path::new(&format!("/sys/class/net/{name}")).exists() {
        return Err(Failure::command_line(format!(
            "{name}: no such card: {core} processors before this one have one"
        )));
    }
    let failed = |error: io::Error| Failure::guest(&name, &error);
    configure(&name, server(card)).map_err(failed)?;
    wait_for_link(&name)?;
    route_interrupts(&name, interrupted)?;
    TcpListener::bind((server(card), PORT)).map_err(failed)
}

fn load_driver() -> Result<(), Failure> {
    let file = File::open(DRIVER).map_err(|error| Failure::guest(DRIVER, &error))?;
    // SAFETY: an open file, no words, and a flag: the kernel reads the file itself.
    let result = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), COMPRESSED) };
    if result == 0 { Ok(()) } else { Err(Failure::last("finit_module")) }
}

/// Gives a card its address, in a network of 256, and turns it on.
fn configure(name: &str, address: Ipv4Addr) -> io::Result<()> {
    // Any socket takes these requests.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let addressed = |address: Ipv4Addr| {
        let socket_address = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: 0,
            sin_addr: libc::in_addr { s_addr: u32::from(address).to_be() },
            sin_zero: [0; 8],
        };
        // SAFETY: both are 16 bytes that mean an address of any family, and of this one.
        let ifru_addr = unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(socket_address) };
        libc::__c_anonymous_ifr_ifru { ifru_addr }
    };
    let on = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let requests = [
        (libc::SIOCSIFADDR, addressed(address)),
        (libc::SIOCSIFNETMASK, addressed(Ipv4Addr::new(255, 255, 255, 0))),
        (libc::SIOCSIFFLAGS, libc::__c_anonymous_ifr_ifru { ifru_flags: on }),
    ];
    for (number, ifr_ifru) in requests {
        let mut request = libc::ifreq { ifr_name: [0; libc::IFNAMSIZ], ifr_ifru };
        // The last byte stays zero.
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()).take(libc::IFNAMSIZ - 1) {
            *to = from as libc::c_char;
        }
        // SAFETY: an open socket, and a request of the kind that these numbers read.
        if unsafe { libc::ioctl(socket.as_raw_fd(), number as _, &raw const request) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Waits until the driver has seen the link.
fn wait_for_link(name: &str) -> Result<(), Failure> {
    let start = Instant::now();
    while read(&format!("/sys/class/net/{name}/carrier"))?.trim() != "1" {
        if start.elapsed() > PATIENCE {
            return Err(Failure::guest(name, &io::Error::new(io::ErrorKind::TimedOut, "no link")));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Has a card's interrupts go to processor `core`.
fn route_interrupts(name: &str, core: u32) -> Result<(), Failure> {
    let all = read("/proc/interrupts")?;
    let line = all.lines().find(|line| line.split_whitespace().next_back() == Some(name));
    let number = line.and_then(|line| line.split(':').next()).map(str::trim);
    let Some(number) = number else {
        return Err(Failure::guest(name, &io::Error::other("no line of /proc/interrupts is its own")));
    };
    let path = format!("/proc/irq/{number}/smp_affinity_list");
    std::fs::write(&path, core.to_string()).map_err(|error| Failure::guest(&path, &error))
}
