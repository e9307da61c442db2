//! Connections that get 128 bytes.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use corey_arch_x86_64_user::marker::marker;
use corey_lib_bench::region::{MACHINE_BEGIN as BEGIN, MACHINE_END as END};
use corey_lib_bench::served::{Load, MESSAGE};
use corey_lib_bench::{Place, Span, run_region, table};

use super::part;
use crate::guest::Failure;
use crate::work::Linux;

/// Accepts, writes, closes.
pub(super) fn serve<const ID: u32>(place: Place<'_>, listener: &TcpListener) -> Result<Span, Failure> {
    let failed = |error: io::Error| Failure::guest("a connection", &error);
    let one = || {
        let (mut connection, _) = listener.accept()?;
        connection.write_all(&MESSAGE)
    };
    (0..part(ID, place.cores, Load::Short.warm())).try_for_each(|_| one()).map_err(failed)?;
    // What a server and the processor with its card's interrupts do together is counted machine-wide, where nobody else does
    // anything.
    let pair = ID == table::TCP_KERNELCORE && place.cores == 1;
    let wrong = RefCell::new(Ok(()));
    let span = run_region::<ID, _>(&Linux, place, |_| {
        if pair {
            marker::<{ table::TCP_KERNELCORE }, BEGIN>();
        }
        if let Err(error) = one() {
            *wrong.borrow_mut() = Err(error);
        }
        if pair {
            marker::<{ table::TCP_KERNELCORE }, END>();
        }
    });
    let last = part(ID, place.cores, Load::Short.cool());
    wrong.into_inner().and_then(|()| drain(listener, last)).map_err(failed)?;
    Ok(span)
}

/// The connections after the region: until the client has ended the last one, it has all it was sent before.
fn drain(listener: &TcpListener, count: u64) -> io::Result<()> {
    let last: Vec<TcpStream> = (0..count)
        .map(|_| {
            let (mut connection, _) = listener.accept()?;
            connection.write_all(&MESSAGE)?;
            connection.shutdown(Shutdown::Write)?;
            Ok(connection)
        })
        .collect::<io::Result<_>>()?;
    last.into_iter().try_for_each(|mut connection| connection.read(&mut [0]).map(drop))
}
