//! What servers send: `netserver`, and the benchmark `tcp` on both systems.

/// Character `at` of what is sent, counted from 0: the printable ones from `!` on, again and again.
#[inline(always)]
pub const fn character(at: u64) -> u8 {
    b'!' + (at % 94) as u8
}

/// The bytes of a short connection.
pub const MESSAGE: [u8; 128] = {
    let mut bytes = [0; 128];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = character(at as u64);
        at += 1;
    }
    bytes
};

/// The port that sends [`MESSAGE`] and closes.
pub const PORT: u16 = 7000;
