//! A plain C program exchanges values through libpmi.so at several sizes: what is put, committed and waited for
//! arrives; replaced keys, odd values, created spaces and the clique are right.

use pmi_tests::{Job, c_program};

fn exchange_at(ranks: u32) {
    let outcome = Job::of(ranks).arg(c_program("exchange")).arg(ranks.to_string()).run();
    outcome.assert_success();
    assert_eq!(
        outcome.stdout,
        format!("exchange: {ranks} ranks, all values right\n"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn one_rank() {
    exchange_at(1);
}

#[test]
fn two_ranks() {
    exchange_at(2);
}

#[test]
fn seven_ranks() {
    exchange_at(7);
}

#[test]
fn sixty_four_ranks() {
    exchange_at(64);
}

#[test]
fn two_hundred_and_fifty_six_ranks() {
    exchange_at(256);
}
