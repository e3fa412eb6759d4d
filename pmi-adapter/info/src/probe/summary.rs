//! The times of all ranks, as rank 0 prints them.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::times::{Phase, Times};
use super::{Kind, Request};

/// Every field is a key of the JSON form.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    form: Kind,
    version: &'static str,
    job: String,
    size: u32,
    hosts: usize,
    count: u32,
    value_bytes: Option<usize>,
    backend: String,
    phases: Vec<Row>,
    slowest: Who,
    exit_code: u8,
    advice: String,
}

/// One phase over all ranks. Times are of all calls of a rank together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Row {
    phase: Phase,
    calls: u64,
    min_ns: u128,
    median_ns: u128,
    max_ns: u128,
    slowest: Who,
    /// Of a barrier: who waited least.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<Who>,
}

/// A rank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Who {
    rank: usize,
    host: String,
}

impl Who {
    fn new(rank: usize, times: &Times) -> Who {
        Who { rank, host: times.host.clone() }
    }

    fn text(&self) -> String {
        format!("rank {} on {}", self.rank, self.host)
    }
}

impl Summary {
    /// Of a job of at least one rank, whose times are in the order of ranks; `finalize` is rank 0's own.
    pub fn new(
        request: &Request,
        kvsname: &str,
        size: u32,
        backend: &str,
        all: &[Times],
        finalize: Duration,
    ) -> Summary {
        let hosts = all.iter().map(|times| &times.host).collect::<BTreeSet<_>>().len();
        let mut phases: Vec<Row> =
            Phase::ALL.iter().filter_map(|phase| Row::of(*phase, all)).collect();
        phases.push(Row::finalize(finalize, &all[0]));
        let slowest = slowest(all);
        Summary {
            form: request.kind,
            version: env!("CARGO_PKG_VERSION"),
            job: kvsname.to_owned(),
            size,
            hosts,
            count: request.count,
            value_bytes: (request.kind != Kind::Barrier).then_some(request.size),
            backend: backend.to_owned(),
            advice: advice(size, hosts, backend, &slowest),
            phases,
            slowest,
            exit_code: 0,
        }
    }

    /// A table, and the last line.
    pub fn text(&self) -> String {
        let bytes =
            self.value_bytes.map_or(String::new(), |bytes| format!(", values of {bytes} bytes"));
        let mut text =
            format!("{}: count {}{bytes}, job {}\n", self.form.name(), self.count, self.job);
        let _ = writeln!(
            text,
            "{:14}{:>9}{:>11}{:>11}{:>11}  slowest",
            "time per call", "calls", "min", "median", "max"
        );
        for row in &self.phases {
            let _ = writeln!(text, "{}", row.text());
        }
        text + &format!("pmi-info: {}\n", self.advice)
    }
}

fn advice(size: u32, hosts: usize, backend: &str, slowest: &Who) -> String {
    let plural = |number: usize| if number == 1 { "" } else { "s" };
    let job = format!(
        "works: {size} rank{} on {hosts} host{} through {backend}",
        plural(size as usize),
        plural(hosts)
    );
    match size {
        1 => format!("{job}. To measure several: pmi-ssh -n N pmi-info …"),
        _ => format!("{job}; most time outside of barriers: {}", slowest.text()),
    }
}

/// The rank with the most time of its own. In a barrier it would be whoever waits for it.
fn slowest(all: &[Times]) -> Who {
    let own = |times: &Times| -> Duration {
        times.spent.iter().filter(|spent| !spent.phase.is_barrier()).map(|spent| spent.time).sum()
    };
    let found = all.iter().enumerate().max_by_key(|(_, times)| own(times));
    let (rank, times) = found.expect("rank 0 at least has told its times");
    Who::new(rank, times)
}

impl Row {
    /// None if no rank has been through this phase.
    fn of(phase: Phase, all: &[Times]) -> Option<Row> {
        let spent = |(rank, times): (usize, &Times)| Some((times.of(phase)?, rank));
        let mut sorted: Vec<_> = all.iter().enumerate().filter_map(spent).collect();
        sorted.sort_by_key(|(spent, _)| spent.time);
        let ((first, fastest), (last, slowest)) = (*sorted.first()?, *sorted.last()?);
        Some(Row {
            phase,
            calls: first.calls,
            min_ns: first.time.as_nanos(),
            median_ns: sorted[sorted.len() / 2].0.time.as_nanos(),
            max_ns: last.time.as_nanos(),
            slowest: Who::new(slowest, &all[slowest]),
            last: phase.is_barrier().then(|| Who::new(fastest, &all[fastest])),
        })
    }

    fn finalize(time: Duration, rank_0: &Times) -> Row {
        let ns = time.as_nanos();
        let slowest = Who::new(0, rank_0);
        Row {
            phase: Phase::Finalize,
            calls: 1,
            min_ns: ns,
            median_ns: ns,
            max_ns: ns,
            slowest,
            last: None,
        }
    }

    fn text(&self) -> String {
        let of_one_call = |all: u128| human(all / u128::from(self.calls.max(1)));
        let [min, median, max] = [self.min_ns, self.median_ns, self.max_ns].map(of_one_call);
        let who = match &self.last {
            Some(last) => format!("{}; last to come: {}", self.slowest.text(), last.text()),
            None if self.phase == Phase::Finalize => "only rank 0 is known".into(),
            None => self.slowest.text(),
        };
        format!("{:14}{:>9}{min:>11}{median:>11}{max:>11}  {who}", self.phase.name(), self.calls)
    }
}

/// Three digits and a unit.
fn human(ns: u128) -> String {
    let (number, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let decimals = if number < 10.0 { 2 } else { usize::from(number < 100.0) };
    format!("{number:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(host: &str, barrier: u64, get: u64) -> Times {
        let mut times = Times::new(host.into());
        times.add(Phase::Barrier, 2, Duration::from_nanos(barrier));
        times.add(Phase::Get, 5, Duration::from_nanos(get));
        times
    }

    fn summary() -> Summary {
        let request = Request::new(Kind::Get, None, None, false);
        let all = [times("a", 30, 7), times("b", 10, 9), times("b", 20, 8)];
        Summary::new(&request, "job", 3, "a server", &all, Duration::from_micros(12))
    }

    #[test]
    fn the_slowest_rank_and_the_last_in_a_barrier_are_named() {
        let summary = summary();
        let who = |rank, host: &str| Who { rank, host: host.into() };
        let [barrier, get, finalize] = &summary.phases[..] else { panic!("{summary:?}") };
        assert_eq!((barrier.min_ns, barrier.median_ns, barrier.max_ns), (10, 20, 30));
        assert_eq!((&barrier.slowest, &barrier.last), (&who(0, "a"), &Some(who(1, "b"))));
        assert_eq!((&get.slowest, &get.last, get.calls), (&who(1, "b"), &None, 5));
        assert_eq!(finalize.max_ns, 12_000);
        assert_eq!((summary.slowest, summary.hosts), (who(1, "b"), 2));
    }

    #[test]
    fn the_text_has_a_row_for_each_phase_and_ends_with_the_advice() {
        let text = summary().text();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[2].starts_with("barrier") && lines[2].ends_with("last to come: rank 1 on b"));
        assert!(
            lines[5].starts_with("pmi-info: works: 3 ranks on 2 hosts through a server"),
            "{text}"
        );
    }

    #[test]
    fn times_have_three_digits() {
        for (ns, text) in [
            (999, "999 ns"),
            (1_234, "1.23 µs"),
            (12_340, "12.3 µs"),
            (123_400_000, "123 ms"),
            (2_000_000_000, "2.00 s"),
        ] {
            assert_eq!(human(ns), text);
        }
    }
}
