//! The Internet checksum (RFC 1071), eight bytes at a time: the carry goes back in at the end of the word.

use core::net::Ipv4Addr;

use smoltcp::wire::IpProtocol;

/// The sum of `data`, not complemented. Of data that holds its own checksum it is `!0`.
#[inline]
pub(crate) fn sum(data: &[u8]) -> u16 {
    let (words, rest) = data.as_chunks::<8>();
    let mut total = 0_u64;
    for word in words {
        total = add(total, u64::from_ne_bytes(*word));
    }
    let rest = match rest.split_first_chunk::<4>() {
        Some((half, rest)) => {
            total = add(total, u64::from(u32::from_ne_bytes(*half)));
            rest
        }
        None => rest,
    };
    let mut last = [0; 4];
    for (into, byte) in last.iter_mut().zip(rest) {
        *into = *byte;
    }
    total = add(total, u64::from(u32::from_ne_bytes(last)));
    let total = (total >> 32) + (total & 0xffff_ffff);
    // The order of bytes within the words does not matter to the sum, but to what it is called.
    u16::from_be(fold(total))
}

#[inline(always)]
fn add(total: u64, word: u64) -> u64 {
    let (total, carry) = total.overflowing_add(word);
    total.wrapping_add(u64::from(carry))
}

/// A sum of less than 2⁴⁸ in 16 bits.
#[inline(always)]
fn fold(total: u64) -> u16 {
    let total = (total >> 16) + (total & 0xffff);
    let total = (total >> 16) + (total & 0xffff);
    ((total >> 16) + (total & 0xffff)) as u16
}

/// The sum of the pseudo-header (RFC 9293 §3.1) and of the segment or datagram behind it.
#[inline]
pub(crate) fn of(source: Ipv4Addr, destination: Ipv4Addr, protocol: IpProtocol, segment: &[u8]) -> u16 {
    let addresses = u64::from(u32::from(source)) + u64::from(u32::from(destination));
    let rest = u64::from(u8::from(protocol)) + (segment.len() as u64 & 0xffff) + u64::from(sum(segment));
    fold((addresses >> 16) + (addresses & 0xffff) + rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::wire::checksum;

    #[test]
    fn sums_are_those_of_smoltcp_for_every_length_and_where_carries_run_through() {
        let (source, destination) = (Ipv4Addr::new(255, 255, 255, 254), Ipv4Addr::new(10, 0, 255, 255));
        for fill in [0x00, 0xff, 0x80, 0x5a] {
            for length in 0..200_usize {
                let data: Vec<u8> = (0..length).map(|n| if n % 7 == 3 { n as u8 } else { fill }).collect();
                assert_eq!(sum(&data), checksum::data(&data), "{fill:x} {length}");
                let pseudo =
                    checksum::pseudo_header_v4(&source, &destination, IpProtocol::Tcp, length as u32);
                let whole = checksum::combine(&[pseudo, checksum::data(&data)]);
                assert_eq!(of(source, destination, IpProtocol::Tcp, &data), whole, "{fill:x} {length}");
            }
            let long = vec![fill; 9000];
            assert_eq!(sum(&long), checksum::data(&long));
        }
    }
}
