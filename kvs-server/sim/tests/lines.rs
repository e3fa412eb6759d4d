//! Hosts that crash are missed in time, and those that only seem to have crashed are not.

use pmi_protocol::limits::{LIFELINE_BREAK_US, LOG_CEILING_DEFAULT};
use pmi_protocol::log::GroupSpec;
use pmi_sim::checker::{BOUND_US, Micros};
use pmi_sim::plan::{GroupPlan, Moment, NetworkPlan, NodePlan, Plan, What};
use pmi_sim::script::{Op, Script};
use pmi_sim::world::{Summary, play};

const NODES: u32 = 3;
const SECOND: Micros = 1_000_000;

/// All ranks of a node are in barrier 1 after a second. Those of node 0 are late for barrier 2.
fn script(rank: u32, late: Micros) -> Script {
    let think = if rank < 2 { late } else { 1_000 };
    vec![Op::Think(SECOND), Op::Barrier, Op::Think(think), Op::Barrier, Op::Finalize]
}

/// Three nodes of two ranks each, over a network without faults.
fn plan(late: Micros, heal_at: Micros, incidents: &[(Micros, What)]) -> Plan {
    let node = |node: u32| NodePlan {
        group: 0,
        ranks: vec![2 * node, 2 * node + 1],
        loopback: false,
        private: false,
        patience: 1_000,
        leaves_together: true,
        dead_address: false,
        opens_ahead: false,
    };
    let group = GroupPlan {
        spec: GroupSpec { name: "job".into(), size: 2 * NODES, ceiling: LOG_CEILING_DEFAULT },
        first: Vec::new(),
        scripts: (0..2 * NODES).map(|rank| script(rank, late)).collect(),
        misuse: false,
    };
    let network = NetworkPlan { latency: 100, heal_at, ..NetworkPlan::default() };
    let incidents = incidents.to_vec();
    Plan { network, groups: vec![group], nodes: (0..NODES).map(node).collect(), incidents }
}

fn played(late: Micros, heal_at: Micros, incidents: &[(Micros, What)]) -> Vec<Summary> {
    let one = |seed| match play(seed, plan(late, heal_at, incidents), false) {
        Ok(summary) => summary,
        Err(violation) => panic!("seed {seed}: {violation}"),
    };
    (0..20).map(one).collect()
}

/// All ranks pass both barriers.
fn goes_on(late: Micros, heal_at: Micros, incidents: &[(Micros, What)]) {
    for summary in played(late, heal_at, incidents) {
        assert_eq!(
            (summary.faults, summary.departures),
            (0, 3 * 2 * u64::from(NODES)),
            "{summary}"
        );
    }
}

/// The ranks that live are told in time. Nobody else would tell them so early.
fn is_missed(late: Micros, incidents: &[(Micros, What)], at: Micros) {
    for summary in played(late, SECOND, incidents) {
        assert_eq!(summary.faults, 2 * u64::from(NODES - 1), "{summary}");
        assert!(summary.micros < at + LIFELINE_BREAK_US + BOUND_US, "{summary}");
    }
}

#[test]
fn a_host_that_crashes_before_it_enters_a_barrier_is_missed() {
    is_missed(20 * SECOND, &[(3 * SECOND, What::Blackout { node: 0 })], 3 * SECOND);
}

#[test]
fn a_host_that_crashes_while_it_stands_in_a_barrier_is_missed() {
    is_missed(20 * SECOND, &[(3 * SECOND, What::Blackout { node: 2 })], 20 * SECOND);
}

#[test]
fn a_host_that_crashes_before_the_first_barrier_is_missed() {
    is_missed(SECOND, &[(SECOND / 2, What::Blackout { node: 1 })], SECOND);
}

#[test]
fn a_host_that_crashes_after_the_server_has_done_so_is_missed() {
    let crash = What::Crash { moment: Moment::Now, down: SECOND / 2 };
    let incidents = [(2 * SECOND, crash), (10 * SECOND, What::Blackout { node: 2 })];
    is_missed(30 * SECOND, &incidents, 30 * SECOND);
}

#[test]
fn stopped_processes_are_waited_for() {
    let stop = What::Suspend { node: 1, until: 20 * SECOND };
    goes_on(1_000, 20 * SECOND, &[(SECOND + 500, stop)]);
}

#[test]
fn a_network_that_comes_back_is_no_crash() {
    let end = 2 * SECOND + LIFELINE_BREAK_US + SECOND / 2;
    let cut = What::Cut { node: 1, until: Some(end) };
    goes_on(12 * SECOND, end, &[(2 * SECOND, cut)]);
}

#[test]
fn a_lifeline_that_breaks_for_nothing_is_opened_again() {
    let incidents: Vec<_> =
        (0..NODES as usize).map(|node| (3 * SECOND, What::Break { node })).collect();
    // Node 0 computes, and enters its barrier in time.
    goes_on(3 * SECOND, 3 * SECOND, &incidents);
    let mut incidents = incidents[1..].to_vec();
    incidents.push((10 * SECOND, What::Blackout { node: 1 }));
    is_missed(60 * SECOND, &incidents, 60 * SECOND);
}
