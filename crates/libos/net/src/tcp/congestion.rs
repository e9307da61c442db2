//! Congestion control: Reno (RFC 5681), NewReno's recovery (RFC 6582), limited transmit (RFC 3042), ten segments at first
//! (RFC 6928).

use super::seq::Seq;

pub(crate) struct Congestion {
    window: u32,
    threshold: u32,
    /// While recovering: what was sent when the loss was seen.
    recover: Seq,
    duplicates: u8,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// Between three duplicate acknowledgements and the acknowledgement of `recover`.
    Recovery,
    /// After a timeout, until `recover`: duplicates are our own doing.
    Loss,
}

/// What a duplicate or partial acknowledgement asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    Nothing,
    /// Send the first unacknowledged segment again.
    Retransmit,
}

impl Congestion {
    pub(crate) const fn new(mss: u32) -> Self {
        Self { window: 10 * mss, threshold: u32::MAX, recover: Seq(0), duplicates: 0, phase: Phase::Open }
    }

    /// Bytes that may be in flight.
    pub(crate) fn window(&self, mss: u32) -> u32 {
        match self.phase {
            Phase::Open => self.window.saturating_add(u32::from(self.duplicates.min(2)) * mss),
            _ => self.window,
        }
    }

    /// `acked` new bytes were acknowledged, up to `una`; `flight` were outstanding before.
    pub(crate) fn acknowledged(&mut self, acked: u32, una: Seq, flight: u32, mss: u32) -> Advice {
        self.duplicates = 0;
        if self.phase != Phase::Open && una.is_before(self.recover) {
            if self.phase == Phase::Recovery {
                // A partial acknowledgement: the next segment is lost, too.
                self.window = self.window.saturating_sub(acked).saturating_add(mss).max(mss);
                return Advice::Retransmit;
            }
        } else if self.phase == Phase::Recovery {
            self.phase = Phase::Open;
            self.window = self.threshold.min(flight.saturating_sub(acked).max(mss).saturating_add(mss));
            return Advice::Nothing;
        } else {
            self.phase = Phase::Open;
        }
        let more = if self.window < self.threshold {
            acked.min(mss)
        } else {
            ((u64::from(mss) * u64::from(mss) / u64::from(self.window.max(1))) as u32).max(1)
        };
        self.window = self.window.saturating_add(more).min(1 << 30);
        Advice::Nothing
    }

    /// A duplicate acknowledgement came while `flight` bytes up to `next` were outstanding.
    pub(crate) fn duplicate(&mut self, flight: u32, next: Seq, mss: u32) -> Advice {
        match self.phase {
            Phase::Recovery => self.window = self.window.saturating_add(mss).min(1 << 30),
            Phase::Loss => {}
            Phase::Open => {
                self.duplicates = self.duplicates.saturating_add(1);
                if self.duplicates == 3 {
                    self.threshold = (flight / 2).max(2 * mss);
                    self.window = self.threshold + 3 * mss;
                    self.recover = next;
                    self.phase = Phase::Recovery;
                    return Advice::Retransmit;
                }
            }
        }
        Advice::Nothing
    }

    /// The retransmission timer expired with `flight` bytes up to `next` outstanding.
    pub(crate) fn timeout(&mut self, flight: u32, next: Seq, mss: u32) {
        if self.phase != Phase::Loss {
            self.threshold = (flight / 2).max(2 * mss);
        }
        self.window = mss;
        self.recover = next;
        self.duplicates = 0;
        self.phase = Phase::Loss;
    }

    /// Nothing was sent for longer than a timeout: what was learned about the path is old (RFC 5681 §4.1).
    pub(crate) fn restart(&mut self, mss: u32) {
        self.window = self.window.min(10 * mss);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;

    #[test]
    fn slow_start_adds_what_is_acknowledged_and_avoidance_a_segment_a_round_trip() {
        let mut reno = Congestion::new(MSS);
        assert_eq!(reno.window(MSS), 10 * MSS);
        (0..10).for_each(|n| assert!(reno.acknowledged(MSS, Seq(n), 10 * MSS, MSS) == Advice::Nothing));
        assert_eq!(reno.window(MSS), 20 * MSS);
        reno.timeout(20 * MSS, Seq(100), MSS);
        assert_eq!((reno.window(MSS), reno.threshold), (MSS, 10 * MSS));
        (0..9).for_each(|n| assert!(reno.acknowledged(MSS, Seq(n), 10 * MSS, MSS) == Advice::Nothing));
        assert_eq!(reno.window(MSS), 10 * MSS);
        (0..10).for_each(|n| assert!(reno.acknowledged(MSS, Seq(n), 10 * MSS, MSS) == Advice::Nothing));
        assert!((10 * MSS + 900..=11 * MSS).contains(&reno.window(MSS)));
    }

    #[test]
    fn three_duplicates_begin_a_recovery_in_which_each_partial_acknowledgement_sends_the_next() {
        let mut reno = Congestion::new(MSS);
        assert!(reno.duplicate(8 * MSS, Seq(8000), MSS) == Advice::Nothing);
        assert!(reno.duplicate(8 * MSS, Seq(8000), MSS) == Advice::Nothing);
        assert_eq!(reno.window(MSS), 12 * MSS, "limited transmit");
        assert!(reno.duplicate(8 * MSS, Seq(8000), MSS) == Advice::Retransmit);
        assert_eq!(reno.window(MSS), 4 * MSS + 3 * MSS);
        assert!(reno.duplicate(8 * MSS, Seq(8000), MSS) == Advice::Nothing);
        assert_eq!(reno.window(MSS), 8 * MSS);
        assert!(reno.acknowledged(3 * MSS, Seq(3000), 8 * MSS, MSS) == Advice::Retransmit);
        assert_eq!(reno.window(MSS), 6 * MSS, "less what is acknowledged, and a segment more");
        assert!(reno.acknowledged(5 * MSS, Seq(8000), 5 * MSS, MSS) == Advice::Nothing);
        assert_eq!(reno.window(MSS), 2 * MSS, "what is in flight and a segment");
        (0..9).for_each(|_| _ = reno.duplicate(2 * MSS, Seq(9000), MSS));
        reno.timeout(2 * MSS, Seq(9000), MSS);
        (0..9).for_each(|_| assert!(reno.duplicate(2 * MSS, Seq(9000), MSS) == Advice::Nothing));
        assert_eq!(reno.window(MSS), MSS, "after a timeout duplicates are our own doing");
    }
}
