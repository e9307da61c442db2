//! `ip=` on the command line.

use crate::Wanted;
use core::net::Ipv4Addr;
use corey_libos_net::Addressing;

/// What `ip=` says; DHCP without it.
///
/// # Errors
///
/// The word, when it is none.
pub(crate) fn addressing(words: &str) -> Result<Wanted, &str> {
    match words.split_whitespace().find_map(|word| word.strip_prefix("ip=")) {
        None | Some("dhcp") => Ok(Wanted(Addressing::Dhcp)),
        Some(word) => fixed(word).map(Wanted).ok_or(word),
    }
}

fn fixed(word: &str) -> Option<Addressing> {
    let (own, gateway) = word.split_once(',').map_or((word, None), |(own, gateway)| (own, Some(gateway)));
    let (address, prefix) = own.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let prefix: u8 = prefix.parse().ok().filter(|bits| (1..=30).contains(bits))?;
    let gateway = match gateway {
        Some(gateway) => Some(gateway.parse::<Ipv4Addr>().ok()?),
        None => None,
    };
    Some(Addressing::Static { address, prefix, gateway })
}
