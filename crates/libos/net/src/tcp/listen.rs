//! Segments that belong to no connection: LISTEN and CLOSED (RFC 9293 §3.10.7.1 and .2).

use super::segment::{ACK, FIN, Header, RST, SYN, Segment};

/// What a listener does with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Ignore,
    Reset(Header),
    /// A connection begins.
    Open,
}

/// A segment for a port with a listener.
pub(crate) fn listen(segment: &Segment) -> Verdict {
    if segment.has(RST) {
        Verdict::Ignore
    } else if segment.has(ACK) {
        closed(segment)
    } else if segment.has(SYN) && !segment.has(FIN) {
        Verdict::Open
    } else {
        // Nothing begins with its end.
        Verdict::Ignore
    }
}

/// A segment for a port where nothing listens.
pub(crate) fn closed(segment: &Segment) -> Verdict {
    Header::reset_for(segment).map_or(Verdict::Ignore, Verdict::Reset)
}
