//! Rounds: threads that start together, and the record of their times.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::host::Host;

/// Runs `work(core)` on `cores` processors, each thread bound to its own. Gives what the first one gave.
pub(crate) fn on_all<T: Send>(host: &Host, cores: u32, work: impl Fn(u32) -> T + Sync) -> Result<T, String> {
    if cores as usize > host.processors.len() {
        return Err(format!("{cores} processors: here are {}", host.processors.len()));
    }
    let ready = AtomicU32::new(0);
    let one = |core: u32| {
        let bound = host.bind(core);
        ready.fetch_add(1, Ordering::AcqRel);
        while ready.load(Ordering::Acquire) < cores {
            std::hint::spin_loop();
        }
        bound.map(|()| work(core))
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|core| scope.spawn(move || one(core))).collect();
        let results: Vec<_> =
            threads.into_iter().map(|t| t.join().map_err(|_| "a thread panicked".to_owned())).collect();
        let mut first = None;
        for result in results {
            let value = result??;
            first.get_or_insert(value);
        }
        first.ok_or_else(|| "no processor".to_owned())
    })
}

/// The value that `part` of the sorted values lie below.
pub(crate) fn quantile(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1) as f64;
    sorted.get((last * part).round() as usize).copied().unwrap_or(f64::NAN)
}

/// What a record is of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heading {
    /// `corey` and `linux` beside each other; `host` where it is the machine itself that is measured.
    pub(crate) system: &'static str,
    pub(crate) bench: &'static str,
    pub(crate) variant: &'static str,
    pub(crate) cores: u32,
    /// Operations of a round.
    pub(crate) operations: u64,
}

/// One record; `times` are nanoseconds of one operation, one for each round. `more` are further fields, each with a
/// comma before it.
pub(crate) fn record(host: &Host, heading: &Heading, times: &mut [f64], more: &str) -> String {
    let Heading { system, bench, variant, cores, operations } = heading;
    times.sort_by(f64::total_cmp);
    let [low, middle, high] = [0.1, 0.5, 0.9].map(|part| quantile(times, part));
    // A brand has no quotes and no escapes but might: it is text of a device.
    let cpu: String = host.cpu.chars().filter(|c| !matches!(c, '"' | '\\') && !c.is_control()).collect();
    format!(
        "{{\"record\":\"bench\",\"system\":\"{system}\",\"bench\":\"{bench}\",\"variant\":\"{variant}\",\
         \"cores\":{cores}{more},\"rounds\":{},\"iters\":{operations},\"ns\":{middle:.2},\
         \"ns_low\":{low:.2},\"ns_high\":{high:.2},\"cpu\":\"{cpu}\"}}",
        times.len()
    )
}

/// Fields of a record: who wrote, who read, and how far they lie apart.
pub(crate) fn pair(host: &Host, from: u32, to: u32) -> String {
    format!(",\"from\":{from},\"to\":{to},\"distance\":\"{}\"", host.distance(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_the_median_and_the_tenths() {
        let host = Host { processors: vec![0], cpu: "a \"b\"".to_owned() };
        let mut times: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        let heading = Heading { system: "host", bench: "fig1", variant: "lock", cores: 1, operations: 5 };
        let text = record(&host, &heading, &mut times, "");
        assert!(text.contains("\"ns\":50.00,\"ns_low\":10.00,\"ns_high\":90.00,\"cpu\":\"a b\"}"), "{text}");
        let text = record(&host, &heading, &mut [1.0], &pair(&host, 0, 0));
        assert!(text.contains("\"from\":0,\"to\":0,\"distance\":\"itself\""), "{text}");
    }

    #[test]
    fn threads_start_together_and_the_first_answers() {
        let host = Host::find().unwrap();
        assert_eq!(on_all(&host, 1, |core| core + 7), Ok(7));
        let more = host.processors.len() as u32 + 1;
        assert!(on_all(&host, more, |_| ()).unwrap_err().contains("here are"));
    }
}
