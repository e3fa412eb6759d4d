//! A node that has all ranks of its group opens barriers ahead of the server, which follows whatever happens.

use pmi_protocol::limits::LOG_CEILING_DEFAULT;
use pmi_protocol::log::GroupSpec;
use pmi_sim::checker::{Micros, Violation};
use pmi_sim::plan::{Fault, GroupPlan, Moment, NetworkPlan, NodePlan, Plan, What};
use pmi_sim::script::{Op, Script};
use pmi_sim::world::{Summary, play, run};

const RANKS: u32 = 3;
const BARRIERS: u32 = 3;

/// Every rank has joined by half of this time, and enters its first barrier between once and twice this time.
const FIRST_US: Micros = 500_000;

fn script(rank: u32) -> Script {
    let think = Op::Think(FIRST_US);
    let round = |barrier: u32| {
        let key = (0, format!("r{rank}-{barrier}").into_bytes());
        // The second barrier adds no bytes but its mark.
        let put = (barrier != 2).then(|| Op::Put(key, vec![b'x'; 1_000]));
        put.into_iter().chain([Op::Commit, Op::Barrier, Op::Think(1_000)])
    };
    std::iter::once(think).chain((1..=BARRIERS).flat_map(round)).chain([Op::Finalize]).collect()
}

/// One group on one node, without faults but the incidents.
fn plan(opens_ahead: bool, incidents: Vec<(Micros, What)>) -> Plan {
    let node = NodePlan {
        group: 0,
        ranks: (0..RANKS).collect(),
        loopback: false,
        private: false,
        patience: 10 * FIRST_US,
        leaves_together: true,
        dead_address: false,
        opens_ahead,
    };
    let group = GroupPlan {
        spec: GroupSpec { name: "job".into(), size: RANKS, ceiling: LOG_CEILING_DEFAULT },
        first: Vec::new(),
        scripts: (0..RANKS).map(script).collect(),
        misuse: false,
    };
    let network = NetworkPlan { latency: 100, heal_at: 10 * FIRST_US, ..NetworkPlan::default() };
    Plan { network, groups: vec![group], nodes: vec![node], incidents }
}

fn played(opens_ahead: bool, incidents: &[(Micros, What)]) -> Result<Vec<Summary>, Violation> {
    (0..20).map(|seed| play(seed, plan(opens_ahead, incidents.to_vec()), false)).collect()
}

#[test]
fn only_the_switch_decides_who_opens_the_barriers() {
    for (opens_ahead, ahead) in [(true, BARRIERS), (false, 0)] {
        for summary in played(opens_ahead, &[]).unwrap() {
            assert_eq!((summary.ahead, summary.faults), (ahead, 0), "{summary}");
            assert_eq!(summary.departures, u64::from(RANKS * (BARRIERS + 1)), "{summary}");
        }
    }
}

#[test]
fn a_server_that_dies_behind_an_open_barrier_follows_after_its_restart() {
    let mut moments = vec![Moment::Now, Moment::BeforeSending];
    // A chunk and a mark, only a mark, a chunk and a mark.
    moments.extend((0..5).map(Moment::AfterAppends));
    for moment in moments {
        let crash = What::Crash { moment, down: FIRST_US };
        for summary in played(true, &[(FIRST_US - 1_000, crash)]).unwrap() {
            assert_eq!((summary.crashes, summary.faults), (1, 0), "{moment:?}: {summary}");
            assert_eq!(summary.ahead, BARRIERS, "{moment:?}: {summary}");
        }
    }
}

/// The server cannot be reached from the first barrier on, for a while.
fn cut() -> (Micros, What) {
    (FIRST_US - 1_000, What::Cut { node: 0, until: Some(3 * FIRST_US) })
}

#[test]
fn nobody_takes_over_from_a_delegate_that_waits_for_confirmation() {
    let takeover = What::Takeover { node: 0, zombie: true };
    for summary in played(true, &[cut(), (2 * FIRST_US, takeover)]).unwrap() {
        assert_eq!((summary.takeovers, summary.faults), (0, 0), "{summary}");
        assert_eq!(summary.ahead, BARRIERS, "{summary}");
    }
}

#[test]
fn the_job_fails_if_a_rank_dies_while_the_server_is_behind() {
    // One of the ranks is the delegate, which waits in the first barrier. The others have come to the second.
    for rank in 0..RANKS {
        for by_peer in [false, true] {
            let death = What::Death { group: 0, rank, by_peer };
            for summary in played(true, &[cut(), (2 * FIRST_US, death)]).unwrap() {
                assert_eq!((summary.ahead, summary.faults), (1, u64::from(RANKS) - 1), "{summary}");
            }
        }
    }
}

#[test]
fn seeds_draw_barriers_that_open_ahead() {
    let ahead = (3000..3100).map(|seed| match run(seed, &[Fault::Loss, Fault::Crash], false) {
        Ok(summary) => summary.ahead,
        Err(violation) => panic!("seed {seed}: {violation}"),
    });
    assert!(ahead.sum::<u32>() > 50);
}
