//! A rank's side: it finds the helper of its node, or starts it, and hears from it where the server is.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use pmi_protocol::limits::{SILENCE_MAX_US, STALL_US};

use crate::helper::{self, Plan};
use crate::life;
use crate::local::{self, Found, Heard, Reply, Word};
use crate::munge::Munge;
use crate::step::Step;
use crate::sys;

/// How long the server is looked for where `PMI_TIMEOUT` says nothing: as long as a node bears its silence later.
pub(crate) const PATIENCE: Duration = Duration::from_micros(SILENCE_MAX_US);

/// After so long a rank says what it waits for.
const COMPLAIN: Duration = Duration::from_micros(STALL_US);

/// The helper gives up by itself; whoever hears nothing of that for so long goes without.
const MARGIN: Duration = Duration::from_secs(5);

/// Between two looks at a name that somebody has taken and does not listen on yet: that takes some 20 microseconds.
const PAUSE: Duration = Duration::from_micros(200);

/// Looks at such a name before it is taken for a stranger's.
const LOOKS: u32 = 1000;

/// What a rank of a step knows.
#[derive(Clone, Debug)]
pub struct Job {
    /// The step.
    pub step: Step,
    /// This process's rank.
    pub rank: u32,
    /// Number of ranks.
    pub size: u32,
    /// Number of ranks on this node, where known.
    pub local_size: Option<u32>,
    /// The ranks of this node, where known (`SLURM_GTIDS`).
    pub clique: Option<Vec<u32>>,
    /// Name of the node, for a host that stands for several.
    pub node_name: Option<String>,
    /// Longest time that a call may wait.
    pub timeout: Option<Duration>,
    /// Ceiling of the log in bytes.
    pub log_ceiling: u64,
}

/// A rank that its helper knows. Dropped without [`left`](Self::left), the rank counts as dead: so it must live as long as
/// the rank's membership in the job.
pub struct Membership {
    helper: OwnedFd,
    timeout: Duration,
    mapping: Mutex<Option<String>>,
    /// Where the server is.
    pub server: SocketAddr,
    /// The job's 256-bit key.
    pub secret: [u8; 32],
}

impl Membership {
    /// The rank has left its job in order.
    pub fn left(&self) {
        // A helper that is gone does not miss anybody.
        local::tell(&self.helper, &Word::Left.to_bytes());
    }

    /// Calls `read` with the step's `PMI_process_mapping`. It is known when the helpers of all nodes have been started: this
    /// waits for it, as long as a call may wait. False if there is none.
    pub fn mapping(&self, read: &mut dyn FnMut(&[u8])) -> bool {
        let mut known = self.mapping.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            *known = self.ask_mapping();
        }
        let text = known.as_deref().filter(|text| !text.is_empty());
        text.map(|text| read(text.as_bytes())).is_some()
    }

    fn ask_mapping(&self) -> Option<String> {
        local::tell(&self.helper, &Word::Mapping.to_bytes());
        let begun = Instant::now();
        while let Some(rest) = self.timeout.checked_sub(begun.elapsed()) {
            match local::hear(&self.helper) {
                Heard::Message(bytes) => match Reply::parse(&bytes) {
                    Some(Reply::Mapping(text)) => return Some(text),
                    _ => continue,
                },
                Heard::End => return None,
                Heard::Nothing => readable_within(&self.helper, rest),
            }
        }
        None
    }
}

/// Finds the server of a step, or has it started, and agrees on the job's key. `say` tells the user what is waited for.
///
/// # Errors
/// There is no MUNGE, or no server within the time that `PMI_TIMEOUT` says. The text says what to do.
pub fn join(job: &Job, say: &dyn Fn(&str)) -> Result<Membership, String> {
    let begun = Instant::now();
    let limit = job.timeout.unwrap_or(PATIENCE) + MARGIN;
    while begun.elapsed() < limit {
        let helper = reach(job)?;
        let word = Word::Here { rank: job.rank, local: job.step.local };
        if !local::tell(&helper, &word.to_bytes()) {
            continue;
        }
        match wait(&helper, job, begun, say) {
            Some(Reply::Server(server, secret)) => {
                let timeout = job.timeout.unwrap_or(PATIENCE);
                return Ok(Membership {
                    helper,
                    timeout,
                    mapping: Mutex::default(),
                    server,
                    secret,
                });
            }
            Some(Reply::Failed(text)) => return Err(text),
            // It has ended, or was killed: another one can be had.
            Some(Reply::Mapping(_)) | None => {}
        }
    }
    Err("the helper of this node says nothing: start the program with pmi-srun".into())
}

/// Waits for the helper's reply; None if it is gone, or time is up.
fn wait(helper: &OwnedFd, job: &Job, begun: Instant, say: &dyn Fn(&str)) -> Option<Reply> {
    let limit = job.timeout.unwrap_or(PATIENCE) + MARGIN;
    let mut complained = false;
    loop {
        match local::hear(helper) {
            Heard::Message(bytes) => return Reply::parse(&bytes),
            Heard::End => return None,
            Heard::Nothing => {}
        }
        let waited = begun.elapsed();
        if waited >= COMPLAIN && !complained {
            complained = true;
            let host = &job.step.first_host;
            say(&format!(
                "no word yet from the server of this step, which task 0 on {host} starts"
            ));
        }
        let next = if complained { limit } else { COMPLAIN };
        let rest = next.checked_sub(waited).or_else(|| limit.checked_sub(waited))?;
        readable_within(helper, rest);
    }
}

/// Returns early if a signal's handler has run.
fn readable_within(socket: &OwnedFd, limit: Duration) {
    let limit = PollTimeout::try_from(limit.as_millis() + 1).unwrap_or(PollTimeout::MAX);
    let _ = poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], limit);
}

/// A connection with the helper of this node, which is started if there is none.
fn reach(job: &Job) -> Result<OwnedFd, String> {
    let system =
        |error: std::io::Error| format!("cannot meet the other ranks of this node: {error}");
    for number in 0..local::NAMES {
        for _ in 0..LOOKS {
            match local::look(&job.step, number).map_err(system)? {
                Found::Helper(socket) => return Ok(socket),
                Found::Nobody(listener) => return start(job, Some(listener)),
                Found::Stranger => break,
                Found::Busy => sleep(PAUSE),
            }
        }
    }
    // Another user holds all names: then this rank has a helper to itself.
    start(job, None)
}

/// Starts the helper. What can fail because of the user's program or its surroundings is done before.
fn start(job: &Job, listener: Option<OwnedFd>) -> Result<OwnedFd, String> {
    let munge = Munge::load().map_err(|trouble| helper::no_munge(&trouble))?;
    let addresses = job.step.addresses()?;
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .map_err(|error| format!("cannot make a pair of sockets: {error}"))?;
    let keep: Vec<_> = listener.iter().chain([&theirs]).map(|fd| fd.as_raw_fd()).collect();
    let anchor = life::anchor(job.step.task);
    let pid = std::process::id();
    let plan = Plan { job: job.clone(), munge, addresses, anchor, listener, first: (theirs, pid) };
    sys::start_apart(c"pmi-step-helper", &keep, || helper::run(plan))
        .map_err(|error| format!("cannot start the helper of this node: {error}"))?;
    Ok(ours)
}
