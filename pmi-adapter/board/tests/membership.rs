//! Boards within one process: who may claim what, who leads, how failures and waits end.

mod common;

use std::time::Duration;

use common::{alone, config, job_name};
use pmi_board::{Arrival, Board, BoardConfig, ClaimError, Failure, State, Wait};

#[test]
fn a_board_opened_twice_in_one_process_is_one_board() {
    let job = job_name("twice");
    let first = Board::open(&config(&job, 2)).unwrap();
    let second = Board::open(&config(&job, 2)).unwrap();
    assert_eq!(first.node_id(), second.node_id());
    let _zero = first.claim(0).unwrap();
    let taken = second.claim(0).unwrap_err();
    assert_eq!(taken, ClaimError::RankTaken { pid: std::process::id() });
    second.claim(1).unwrap();
    assert_eq!(first.members().len(), 2);
}

#[test]
fn other_jobs_and_secrets_have_other_boards() {
    let job = job_name("others");
    let base = config(&job, 1);
    let first = Board::open(&base).unwrap();
    let other_secret = Board::open(&BoardConfig { secret: &[8; 32], ..base }).unwrap();
    let other_job = Board::open(&BoardConfig { job: "another", ..base }).unwrap();
    assert_ne!(first.node_id(), other_secret.node_id());
    assert_ne!(first.node_id(), other_job.node_id());
}

#[test]
fn a_board_that_may_not_be_shared_is_private_and_works() {
    let (board, slot) = alone(1 << 20);
    assert!(board.is_private() && !board.is_host() && board.is_owner());
    assert_eq!(board.arrive(&slot, 0), Arrival::Last);
    board.try_lead(&slot).unwrap().open_epoch(0, 0).unwrap();
    assert_eq!(board.wait_opened(0, Duration::ZERO), Wait::Opened);
    assert!(board.release(&slot));
}

#[test]
fn only_one_process_can_host() {
    let job = job_name("host");
    let host = Board::host(&config(&job, 2)).unwrap();
    let second = Board::host(&config(&job, 2)).unwrap_err();
    assert_eq!(second.kind(), std::io::ErrorKind::AddrInUse);
    drop(host);
    Board::host(&config(&job, 2)).expect("the name is free again");
}

#[test]
fn claims_that_contradict_the_board_are_refused() {
    let job = job_name("contradict");
    let board = Board::open(&config(&job, 2)).unwrap();
    assert_eq!(board.claim(2).unwrap_err(), ClaimError::RankBeyondSize { size: 2 });
    let other = Board::open(&config(&job, 3)).unwrap();
    assert_eq!(other.claim(0).unwrap_err(), ClaimError::SizeDiffers { board: 2, ours: 3 });
}

#[test]
fn a_finalized_rank_cannot_return_and_the_last_one_is_told() {
    let job = job_name("finalize");
    let board = Board::open(&config(&job, 2)).unwrap();
    let zero = board.claim(0).unwrap();
    assert!(!board.release(&zero), "rank 1 has not even come");
    assert_eq!(board.claim(0).unwrap_err(), ClaimError::RankFinalized);
    let one = board.claim(1).unwrap();
    assert!(board.release(&one));
    assert!(!board.release(&one), "once");
    assert!(board.members().iter().all(|member| member.state == State::Finalized));
}

#[test]
fn a_rank_that_finalizes_before_a_barrier_is_missed_there() {
    let job = job_name("deserter");
    let board = Board::open(&config(&job, 2)).unwrap();
    let (zero, one) = (board.claim(0).unwrap(), board.claim(1).unwrap());
    board.try_lead(&zero).unwrap().open_epoch(0, 0).unwrap();
    board.release(&one);
    assert_eq!(board.casualty(), None, "nobody waits for it");
    board.arrive(&zero, 1);
    let missed = board.casualty().unwrap();
    assert_eq!((missed.rank, missed.state), (1, State::Finalized));
    board.try_lead(&zero).unwrap().open_epoch(1, 0).unwrap();
    assert_eq!(board.casualty(), None, "the barrier has opened all the same");
}

#[test]
fn the_hint_tells_the_last_arrival_also_after_a_late_start() {
    let job = job_name("last");
    let board = Board::open(&config(&job, 2)).unwrap();
    let (zero, one) = (board.claim(0).unwrap(), board.claim(1).unwrap());
    assert_eq!(board.arrive(&zero, 0), Arrival::Early);
    assert_eq!(board.arrive(&zero, 0), Arrival::Early, "a repeated arrival does not count");
    assert_eq!(board.arrivals(0).0.to_string(), "0");
    board.try_lead(&zero).unwrap().open_epoch(0, 0).unwrap();
    assert_eq!(board.arrive(&zero, 1), Arrival::Early);
    assert_eq!(board.arrive(&one, 1), Arrival::Last, "as if it had been in epoch 0");
    assert_eq!(board.arrivals(1).0.to_string(), "0-1");
    assert!(board.arrivals(2).0.is_empty());
}

#[test]
fn there_is_one_delegate_and_dropping_it_asks_for_another() {
    let job = job_name("delegate");
    let board = Board::open(&config(&job, 2)).unwrap();
    let (zero, one) = (board.claim(0).unwrap(), board.claim(1).unwrap());
    assert_eq!(board.wait_opened(0, Duration::from_millis(1)), Wait::TimedOut);
    let mut delegate = board.try_lead(&zero).unwrap();
    assert!(board.try_lead(&one).is_none() && board.try_lead(&zero).is_none());
    delegate.set_port(4711);
    assert_eq!(board.delegate_port(), 4711);
    drop(delegate);
    assert_eq!(board.delegate_port(), 0);
    assert_eq!(board.wait_opened(0, Duration::MAX), Wait::Vacant);
    board.try_lead(&one).unwrap().step_down();
    assert_eq!(board.wait_opened(0, Duration::from_millis(1)), Wait::TimedOut);
}

#[test]
fn a_failure_ends_every_wait_and_the_first_one_stays() {
    let job = job_name("failure");
    let board = Board::open(&config(&job, 2)).unwrap();
    let first = Failure { code: 9, rank: Some(1), text: "rank 1 called PMI_Abort".into() };
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| board.wait_opened(0, Duration::MAX));
        board.fail(&first);
        board.fail(&Failure { code: 1, rank: None, text: "later".into() });
        assert_eq!(sleeper.join().unwrap(), Wait::Failed);
    });
    assert_eq!(board.failure(), Some(first));
}

#[test]
fn a_rank_is_alone_when_all_have_come_and_the_others_have_left() {
    let job = job_name("alone");
    let board = Board::open(&config(&job, 2)).unwrap();
    let zero = board.claim(0).unwrap();
    assert!(!board.is_alone(&zero), "another is to come");
    let one = board.claim(1).unwrap();
    assert!(!board.is_alone(&zero));
    board.release(&one);
    assert!(board.is_alone(&zero));
    let (private, slot) = alone(1 << 20);
    assert!(private.is_alone(&slot));
}
