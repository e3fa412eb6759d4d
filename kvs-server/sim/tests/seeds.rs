//! A few hundred seeds with all faults, and some with each kind alone. A failure prints its seed, and
//! `pmi-sim --seed <seed> --trace` plays it again.

use clap::ValueEnum;
use pmi_sim::plan::Fault;
use pmi_sim::world::{Summary, run};

/// Runs seeds; all of them must keep the contract.
fn play(seeds: std::ops::Range<u64>, faults: &[Fault]) -> Summary {
    let mut total = Summary::default();
    for seed in seeds {
        match run(seed, faults, false) {
            Ok(summary) => total = total + summary,
            Err(violation) => panic!("seed {seed} with {faults:?}: {violation}"),
        }
    }
    total
}

#[test]
fn seeds_with_all_faults_keep_the_contract() {
    let total = play(0..400, Fault::value_variants());
    assert!(total.departures > 10_000 && total.faults > 100, "{total}");
    assert!(total.crashes > 50 && total.takeovers > 100, "{total}");
}

#[test]
fn seeds_with_one_kind_of_fault_keep_the_contract() {
    for fault in Fault::value_variants() {
        play(1000..1060, &[*fault]);
    }
}

#[test]
fn without_faults_nobody_is_told_of_an_end() {
    let total = play(2000..2040, &[]);
    assert_eq!((total.faults, total.crashes, total.takeovers), (0, 0, 0));
}

#[test]
fn a_seed_is_the_same_every_time() {
    for seed in 0..10 {
        let faults = Fault::value_variants();
        assert_eq!(run(seed, faults, false), run(seed, faults, false), "seed {seed}");
    }
}
