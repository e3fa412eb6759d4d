//! The launcher's messages: what happened, where, and what to do next.

use pmi_kvs_server::control::Statistics;

use crate::ending::Failure;
use crate::signals;
use crate::sys::{Exit, SpawnError, Stage};

/// What messages call things by.
pub struct Names {
    /// The launcher.
    pub starter: &'static str,
    /// This host.
    pub host: String,
    /// Each app's program, as the user named it.
    pub programs: Vec<String>,
    /// Each app's first rank.
    pub first_ranks: Vec<u32>,
}

impl Names {
    /// A line of the launcher's.
    pub fn line(&self, text: &str) -> String {
        format!("{}: {text}", self.starter)
    }

    /// A rank with its host and program.
    pub fn rank(&self, rank: u32) -> String {
        let app = self.first_ranks.partition_point(|first| *first <= rank).max(1) - 1;
        let program = self.programs.get(app).map_or("?", String::as_str);
        format!("rank {rank} on host {} ({program})", self.host)
    }

    /// The server names a rank by its number only.
    fn fault(&self, rank: u32, message: &str) -> String {
        let named = |start: String| message.strip_prefix(&start);
        let rest = named(format!("rank {rank} on {} ", self.host));
        match rest.or_else(|| named(format!("rank {rank} "))) {
            Some(rest) => format!("{} {rest}", self.rank(rank)),
            None => format!("{}: {message}", self.rank(rank)),
        }
    }

    /// Why the job ends. `None` for a reason that its user knows.
    pub fn failure(&self, failure: &Failure) -> Option<String> {
        let what = match failure {
            Failure::Start { rank, reason, .. } => format!("{} {reason}", self.rank(*rank)),
            Failure::Ended { rank, exit } => format!("{} {}", self.rank(*rank), exit_text(*exit)),
            Failure::Unfinalized { rank } => {
                format!("{} exited without PMI_Finalize after PMI_Init", self.rank(*rank))
            }
            Failure::Abort { rank, code, message } => {
                let colon = if message.is_empty() { "" } else { ": " };
                format!("{} called PMI_Abort({code}){colon}{message}", self.rank(*rank))
            }
            Failure::Fault { rank: Some(rank), message } => self.fault(*rank, message),
            Failure::Fault { rank: None, message } | Failure::Server(message) => message.clone(),
            Failure::Output(errno) => format!("cannot write to standard output: {}", errno.desc()),
            Failure::OutputClosed => return None,
        };
        Some(format!("{what}; ending the job"))
    }
}

/// How a process ended, as the end of a sentence.
pub fn exit_text(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exited with code {code}"),
        Exit::Signal { number, core } => {
            let name = signals::name(number).map_or(String::new(), |name| format!(" ({name})"));
            let core = if core { ", core dumped" } else { "" };
            format!("was killed by signal {number}{name}{core}")
        }
    }
}

/// Why a rank could not be started, and the job's exit code.
pub fn spawn_text(error: SpawnError, wdir: &str) -> (String, i32) {
    let system = error.errno.desc();
    match (error.stage, error.errno) {
        (Stage::Fork, _) => {
            (format!("could not be started: {system}; see the limit of processes (ulimit -u)"), 1)
        }
        (Stage::Setup, _) => (format!("could not be set up: {system}"), 1),
        (Stage::Directory, _) => (format!("could not enter its directory '{wdir}': {system}"), 1),
        (Stage::Execute, nix::errno::Errno::ENOENT) => (
            format!("could not be executed: {system}; is the interpreter it needs installed?"),
            127,
        ),
        (Stage::Execute, _) => (format!("could not be executed: {system}"), 126),
    }
}

/// A barrier that waits for ranks, of which those have joined that are on these hosts.
pub fn stall_text(barrier: u32, seconds: u64, missing: &str, hosts: &[String]) -> String {
    let (at, what) = match hosts {
        [] => (String::new(), "joined yet, or not called PMI_Barrier"),
        hosts => (format!(" (on {})", hosts.join(", ")), "called PMI_Barrier yet"),
    };
    format!(
        "barrier {barrier} has been waiting for {seconds} s for ranks {missing}{at}; they have not {what}"
    )
}

/// The server's counters, as lines.
pub fn statistics_lines(statistics: &Statistics) -> [String; 2] {
    let Statistics { datagrams_in, bytes_in, datagrams_out, bytes_out, .. } = statistics;
    let Statistics { dropped, repeated, barriers, nodes, log_bytes, .. } = statistics;
    [
        format!(
            "server: {barriers} barriers, {nodes} nodes, {log_bytes} bytes of log; datagrams dropped \
             {dropped}, repeated {repeated}"
        ),
        format!(
            "server: received {datagrams_in} datagrams ({bytes_in} bytes), sent {datagrams_out} \
             ({bytes_out} bytes)"
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_rank_host_program_and_reason() {
        let names = Names {
            starter: "pmi-ssh",
            host: "foo".into(),
            programs: vec!["./a".into(), "b".into()],
            first_ranks: vec![0, 2],
        };
        let text = |failure| names.failure(&failure).unwrap();
        assert_eq!(
            text(Failure::Ended { rank: 3, exit: Exit::Signal { number: 11, core: false } }),
            "rank 3 on host foo (b) was killed by signal 11 (SIGSEGV); ending the job"
        );
        assert_eq!(
            text(Failure::Ended { rank: 1, exit: Exit::Code(7) }),
            "rank 1 on host foo (./a) exited with code 7; ending the job"
        );
        assert_eq!(
            text(Failure::Abort { rank: 2, code: 5, message: "no more".into() }),
            "rank 2 on host foo (b) called PMI_Abort(5): no more; ending the job"
        );
        assert_eq!(
            text(Failure::Fault { rank: Some(2), message: "rank 2 exited early".into() }),
            "rank 2 on host foo (b) exited early; ending the job"
        );
        assert_eq!(
            text(Failure::Fault { rank: Some(2), message: "rank 2 on foo exited early".into() }),
            "rank 2 on host foo (b) exited early; ending the job"
        );
        assert_eq!(
            exit_text(Exit::Signal { number: 40, core: true }),
            "was killed by signal 40, core dumped"
        );
    }
}
