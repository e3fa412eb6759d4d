//! The board between real processes: exchanges over hundreds of epochs, deaths, and what is left behind.

mod common;

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use common::crew::{self, Crew, HINT, JOB, RANK, ROLE, SIZE, VICTIM, die, number, until};
use common::{config, job_name, put, serve, value};
use pmi_board::{Arrival, Board, BoardConfig, ClaimError, Failure, Slot, State, Wait};

/// Barriers of an exchange.
const EPOCHS: u32 = 300;
/// The barrier in which a victim dies.
const FATAL: u32 = 40;
/// How long a rank waits for the others before it leads: short where it does not know how many there are.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));
/// Exit code of a rank that was told that the victim is dead.
const TOLD: i32 = 77;

/// Not a test by itself: what a process of a crew does.
#[test]
fn crew_member() {
    let Ok(role) = std::env::var(ROLE) else { return };
    crew::limit_life();
    let job = std::env::var(JOB).unwrap();
    let hint = number(HINT).unwrap() == 1;
    let size = number(SIZE).unwrap();
    let config = config(&job, size);
    let config = BoardConfig { local_size: hint.then_some(size), ..config };
    let rank = number(RANK).unwrap();
    match role.as_str() {
        "exchange" => Rank::join(&config, rank).exchange_and_finalize(),
        "idle" => Rank::join(&config, rank).idle(),
        "thrifty" => leak_nothing(&config),
        other => panic!("no such role: {other}"),
    }
}

/// A rank of a job whose server lives in the delegate.
struct Rank {
    board: Board,
    slot: Slot,
    victim: Option<u32>,
    patience: Duration,
}

impl Rank {
    fn join(config: &BoardConfig<'_>, rank: u32) -> Rank {
        let board = Board::open(config).unwrap();
        assert!(!board.is_private());
        let slot = board.claim(rank).unwrap();
        let patience = if config.local_size.is_none() { PATIENCE.0 } else { PATIENCE.1 };
        Rank { board, slot, victim: number(VICTIM), patience }
    }

    fn rank(&self) -> u32 {
        self.slot.rank()
    }

    fn exchange_and_finalize(self) {
        for epoch in 0..EPOCHS {
            self.commit(epoch);
            if let Err(failure) = self.barrier(epoch) {
                assert_eq!(failure.rank, self.victim.map(|_| 1));
                std::process::exit(TOLD);
            }
            self.check(epoch);
        }
        self.board.release(&self.slot);
    }

    fn commit(&self, epoch: u32) {
        let rank = self.rank();
        let own = put(0, format!("{rank}@{epoch}").as_bytes(), &epoch.to_le_bytes());
        let replaced = put(0, format!("now.{rank}").as_bytes(), &epoch.to_le_bytes());
        self.board.commit(&self.slot, &own).unwrap();
        self.board.commit(&self.slot, &replaced).unwrap();
    }

    /// Everybody's pairs of this epoch are there, and none of the next.
    fn check(&self, epoch: u32) {
        for rank in 0..self.board.size() {
            let key = format!("{rank}@{epoch}");
            assert_eq!(value(&self.board, 0, key.as_bytes()), Some(epoch.to_le_bytes().into()));
            let now = value(&self.board, 0, format!("now.{rank}").as_bytes());
            assert_eq!(now, Some(epoch.to_le_bytes().into()), "a rank is ahead of the barrier");
        }
    }

    fn barrier(&self, epoch: u32) -> Result<(), Failure> {
        let mut lead = self.arrive(epoch);
        while self.board.opened() <= epoch {
            if lead && self.conduct(epoch) {
                continue;
            }
            match self.board.wait_opened(epoch, self.patience) {
                Wait::Opened => break,
                Wait::Failed => return Err(self.board.failure().unwrap()),
                Wait::Vacant | Wait::TimedOut => lead = true,
            }
        }
        Ok(())
    }

    fn arrive(&self, epoch: u32) -> bool {
        if self.is_to_die(epoch) {
            match self.victim {
                Some(0) => die(),
                // Last of all, so that it will lead.
                _ => until("the others", || self.board.arrivals(epoch).0.len() == self.others()),
            }
        }
        self.board.arrive(&self.slot, epoch) == Arrival::Last || self.is_to_die(epoch)
    }

    fn others(&self) -> usize {
        self.board.size() as usize - 1
    }

    fn is_to_die(&self, epoch: u32) -> bool {
        self.victim.is_some() && self.rank() == 1 && epoch == FATAL
    }

    /// Acts as delegate; false if there is another.
    fn conduct(&self, epoch: u32) -> bool {
        let Some(mut delegate) = self.board.try_lead(&self.slot) else { return false };
        while self.board.opened() <= epoch {
            let (ranks, end) = self.board.arrivals(epoch);
            if ranks.len() == self.board.size() as usize {
                if self.is_to_die(epoch) {
                    let half = vec![0x55; 1000];
                    delegate.down_write(self.board.visible(), &half).unwrap();
                    die();
                }
                let mark = serve(&self.board, &mut delegate, end);
                delegate.open_epoch(epoch, mark).unwrap();
                return true;
            }
            if let Some(dead) = self.board.casualty() {
                assert_eq!((dead.rank, dead.state), (1, State::Dead));
                let text = "rank 1 died".to_owned();
                self.board.fail(&Failure { code: 1, rank: Some(1), text });
                return false;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        delegate.step_down();
        true
    }

    fn idle(self) {
        loop {
            self.board.wait_opened(u32::MAX - 1, Duration::from_secs(1));
        }
    }
}

/// Opens and closes boards and leaves no descriptor.
fn leak_nothing(config: &BoardConfig<'_>) {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    for _ in 0..3 {
        let board = Board::open(config).unwrap();
        let slot = board.claim(number(RANK).unwrap()).unwrap();
        assert_eq!(open(), before + if board.is_host() { 2 } else { 1 });
        drop((board, slot));
        assert_eq!(open(), before);
    }
}

fn run(test: &str, size: u32, hint: bool, victim: Option<u32>) -> Vec<Option<i32>> {
    let job = job_name(test);
    let mut environment = vec![(ROLE, "exchange".into()), (HINT, u32::from(hint).to_string())];
    environment.extend(victim.map(|how| (VICTIM, how.to_string())));
    let statuses = Crew::start("crew_member", &job, size, &environment).join();
    assert_nothing_is_left(&job);
    let killed = statuses.iter().filter(|status| status.signal() == Some(9)).count();
    assert_eq!(killed, usize::from(victim.is_some()));
    statuses.into_iter().map(|status| status.code()).collect()
}

/// The board's name is free again, and there is no file.
fn assert_nothing_is_left(job: &str) {
    Board::host(&config(job, 1)).expect("a process has left the board's socket behind");
    let names = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let ours = |name: &std::ffi::OsStr| name.to_string_lossy().contains("pmi-board");
    assert!(!names.map(|entry| entry.file_name()).any(|name| ours(&name)));
}

#[test]
fn two_and_sixteen_processes_exchange() {
    assert_eq!(run("two", 2, true, None), [Some(0); 2]);
    assert_eq!(run("sixteen", 16, true, None), [Some(0); 16]);
}

#[test]
fn five_processes_exchange_without_knowing_how_many_are_here() {
    assert_eq!(run("five", 5, false, None), [Some(0); 5]);
}

#[test]
fn a_rank_that_dies_outside_the_barrier_is_missed_by_all() {
    let codes = run("victim", 5, true, Some(0));
    assert_eq!(codes, [Some(TOLD), None, Some(TOLD), Some(TOLD), Some(TOLD)]);
}

#[test]
fn a_delegate_that_dies_is_replaced_and_then_missed() {
    let codes = run("delegate", 5, true, Some(1));
    assert_eq!(codes, [Some(TOLD), None, Some(TOLD), Some(TOLD), Some(TOLD)]);
}

#[test]
fn boards_leave_no_descriptor() {
    let job = job_name("thrifty");
    let environment = [(ROLE, "thrifty".to_owned()), (HINT, "1".to_owned())];
    let crew = Crew::start("crew_member", &job, 1, &environment);
    assert_eq!(crew.join()[0].code(), Some(0));
    assert_nothing_is_left(&job);
}

#[test]
fn a_launcher_sees_its_ranks_and_a_second_claim_is_refused() {
    let job = job_name("launcher");
    let host = Board::host(&config(&job, 2)).unwrap();
    let environment = [(ROLE, "idle".to_owned()), (HINT, "1".to_owned())];
    let mut crew = Crew::start("crew_member", &job, 2, &environment);
    until("both ranks", || host.members().len() == 2);
    let pid = crew.members[1].id();
    assert_eq!(host.claim(1).unwrap_err(), ClaimError::RankTaken { pid });
    assert_eq!(host.casualty(), None);

    crew.members[1].kill().unwrap();
    crew.members[1].wait().unwrap();
    assert_eq!(host.claim(1).unwrap_err(), ClaimError::RankDied { pid });
    until("the sweep", || host.casualty().is_some());
    let dead = host.casualty().unwrap();
    assert_eq!((dead.rank, dead.pid, dead.state), (1, pid, State::Dead));
    let states: Vec<_> = host.members().iter().map(|member| (member.rank, member.state)).collect();
    assert!(states.contains(&(0, State::Joined)) && states.contains(&(1, State::Dead)));
}
