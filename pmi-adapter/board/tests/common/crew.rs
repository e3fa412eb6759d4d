//! Real processes for a test: the test binary runs itself again, with a role in its environment.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What a process of a crew is to do, as environment variables.
pub const ROLE: &str = "PMI_BOARD_TEST_ROLE";
pub const JOB: &str = "PMI_BOARD_TEST_JOB";
pub const RANK: &str = "PMI_BOARD_TEST_RANK";
pub const SIZE: &str = "PMI_BOARD_TEST_SIZE";
pub const HINT: &str = "PMI_BOARD_TEST_HINT";
pub const VICTIM: &str = "PMI_BOARD_TEST_VICTIM";

/// Longest life of a crew. Far beyond what it needs; a hang becomes a failure.
const LIMIT: Duration = Duration::from_secs(120);

/// The processes of one job.
pub struct Crew {
    pub members: Vec<Child>,
}

impl Crew {
    /// Starts ranks `0..size` of `job`. Each runs the test `entry` of this binary with `environment`.
    pub fn start(entry: &str, job: &str, size: u32, environment: &[(&str, String)]) -> Crew {
        let start = |rank: u32| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", entry, "--nocapture", "--test-threads=1"])
                .env(JOB, job)
                .env(RANK, rank.to_string())
                .env(SIZE, size.to_string())
                .envs(environment.iter().map(|(name, value)| (name, value)))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        };
        Crew { members: (0..size).map(start).collect() }
    }

    /// Waits for all, in rank order.
    pub fn join(mut self) -> Vec<ExitStatus> {
        self.members.iter_mut().map(|member| member.wait().unwrap()).collect()
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

/// In a process of a crew: a number from the environment.
pub fn number(name: &str) -> Option<u32> {
    Some(std::env::var(name).ok()?.parse().unwrap())
}

/// In a process of a crew: ends it when its time is over, whatever hangs.
pub fn limit_life() {
    std::thread::spawn(|| {
        std::thread::sleep(LIMIT);
        std::process::exit(99);
    });
}

/// Ends this process as a crash would.
pub fn die() -> ! {
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
    unreachable!("SIGKILL is never survived");
}

/// Waits until `condition` holds.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
