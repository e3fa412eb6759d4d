//! Which backend a process gets, decided from what its environment says and what is open at its descriptors.
//!
//! The order is: our own server, the server of another starter, one that the tasks of a Slurm step start themselves,
//! singleton. What stands first and is there is taken. A rank of several never becomes a singleton: then there is an error
//! that says what to do.
//!
//! | the environment names | and | taken |
//! |---|---|---|
//! | `PMI_KVS_SERVER` | no other starter stands between (`PMI_KVS_PLACE`) | our server |
//! | `PMI_FD` | a socket is open there, rank and size are known | that server |
//! | `PMI_PORT`, `PMI_ID` | | that server, which tells rank and size |
//! | `PMI_FD` | no socket is open there, and the size may be above 1 | error |
//! | a step of srun | the size is above 1, by Slurm; no other starter tells another place | a server of the step's own |
//! | nothing | the size is above 1 | error |
//! | nothing | the size is 1, or there is no rank | singleton |
//!
//! Something closes `PMI_FD` wherever a program is started by one that closes what it does not know (Python's
//! `subprocess`, `sudo`, daemons). Under our starters that does no harm, because our server needs no descriptor.

use std::fmt;

use pmi_step::Step;

use crate::environment::descriptor::Descriptor;
use crate::environment::{Placement, Port, Server};

/// What holds the job together, as far as the environment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice<'a> {
    /// The key-value server of our job.
    Kvs(&'a Server),
    /// Another starter's server at a descriptor that it has passed on.
    Descriptor(i32),
    /// Another starter's server on TCP.
    Port(&'a Port),
    /// A server that the tasks of this Slurm step start among themselves.
    Step(&'a Step),
    /// Nobody: a job of one.
    Singleton,
}

impl fmt::Display for Choice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Kvs(server) => write!(f, "the server of job {}", server.job),
            Choice::Descriptor(number) => write!(f, "another starter's server at PMI_FD={number}"),
            Choice::Port(port) => write!(f, "another starter's server at {port}"),
            Choice::Step(step) if step.is_first_node() => {
                write!(
                    f,
                    "the server of step {}.{}, which task 0 of this node starts",
                    step.job, step.step
                )
            }
            Choice::Step(step) => {
                write!(f, "the server of step {}.{} on {}", step.job, step.step, step.first_host)
            }
            Choice::Singleton => write!(f, "a job of one process"),
        }
    }
}

/// A choice, and why those before it in the order were not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// What is taken.
    pub choice: Choice<'a>,
    /// One reason for each that was passed by.
    pub passed_by: Vec<String>,
}

/// Decides; `open` says what is open at a descriptor.
///
/// # Errors
/// This process is, or may be, one rank of several, and there is nobody to hold them together. The text says what
/// to do.
pub fn decide<'a>(
    placement: &'a Placement,
    open: &dyn Fn(i32) -> Descriptor,
) -> Result<Decision<'a>, String> {
    if let Some(server) = &placement.server {
        return Ok(Decision { choice: Choice::Kvs(server), passed_by: Vec::new() });
    }
    let mut passed_by = vec![no_server_of_ours(placement)];
    let at_descriptor = placement.wire.descriptor.map(|number| (number, open(number)));
    if let Some((number, Descriptor::Socket(_))) = at_descriptor {
        return match placement.source {
            Some(_) => Ok(Decision { choice: Choice::Descriptor(number), passed_by }),
            None => Err(descriptor_without_rank(number)),
        };
    }
    passed_by.push(no_descriptor(at_descriptor));
    if let Some(port) = &placement.wire.port {
        return Ok(Decision { choice: Choice::Port(port), passed_by });
    }
    passed_by.push("PMI_PORT is not set".into());
    if let Some(step) = placement.step.as_ref().filter(|_| at_descriptor.is_none()) {
        return match placement.contradiction {
            None => Ok(Decision { choice: Choice::Step(step), passed_by }),
            Some(other) => Err(two_places(placement, other)),
        };
    }
    alone(placement, at_descriptor)?;
    Ok(Decision { choice: Choice::Singleton, passed_by })
}

/// May this process be a job of its own?
fn alone(placement: &Placement, closed: Option<(i32, Descriptor)>) -> Result<(), String> {
    match closed {
        Some((number, _)) if placement.size > 1 => Err(descriptor_closed(placement, number)),
        Some((number, _)) if placement.source.is_none() => Err(descriptor_without_rank(number)),
        Some((number, _)) => match placement.rival {
            Some(name) => Err(two_starters(name, number)),
            None => Ok(()),
        },
        None if placement.size > 1 => Err(placement.no_server()),
        None => Ok(()),
    }
}

fn no_server_of_ours(placement: &Placement) -> String {
    match placement.changed_since.as_slice() {
        [] => "PMI_KVS_SERVER is not set".into(),
        changed => format!(
            "PMI_KVS_SERVER, if set, is an outer job's: another starter, or a script, has since set {}",
            changed.join(", ")
        ),
    }
}

fn no_descriptor(at: Option<(i32, Descriptor)>) -> String {
    match at {
        None => "PMI_FD is not set, or an outer job's".into(),
        Some((number, Descriptor::Other)) => format!("PMI_FD={number} is no socket"),
        Some((number, _)) => format!("PMI_FD={number} is closed"),
    }
}

fn descriptor_closed(placement: &Placement, number: i32) -> String {
    format!(
        "this is rank {} of {}, and its starter has left a connection with its PMI server at PMI_FD={number}, but \
         no socket is open there: a program in between has closed it. Let the starter start this program itself, \
         make the program in between pass the descriptor on (in Python: subprocess with close_fds=False), or start \
         the job with pmi-ssh, which needs no descriptor",
        placement.rank, placement.size,
    )
}

fn descriptor_without_rank(number: i32) -> String {
    format!(
        "PMI_FD={number} is set, but PMI_RANK and PMI_SIZE are not: leave all three as the starter has set them, \
         or unset all three for a job of one process"
    )
}

fn two_places(placement: &Placement, other: &str) -> String {
    format!(
        "this is rank {} of {} by Slurm, but the variables of {other} tell another place: a starter inside of the step has \
         started this process. Start the ranks with srun itself, with pmi-srun, or with pmi-ssh",
        placement.rank, placement.size,
    )
}

fn two_starters(name: &str, number: i32) -> String {
    format!(
        "two starters claim this process: PMI_SIZE is 1, but PMI_FD={number} is closed, and the variables of {name} \
         tell a size above 1. If {name} has started it, unset PMI_RANK, PMI_SIZE and PMI_FD in its environment and \
         start the job with pmi-ssh; if it is a job of one process, unset PMI_FD"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "PMI_KVS_SERVER=a:1 PMI_KVS_JOB=job \
        PMI_KVS_SECRET=00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    /// A step of srun; without its size and this node's number.
    const STEP: &str = "SLURM_JOB_ID=7 SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_STEP_NODELIST=n[08-11]";
    const STEP_OF_TWO: &str = "SLURM_NODEID=0 SLURM_NTASKS=2";

    /// The choice in an environment of `NAME=value` words, or the error; with what was passed by.
    fn choice(words: &str, open: Descriptor) -> String {
        let pairs: Vec<_> =
            words.split_whitespace().map(|word| word.split_once('=').unwrap()).collect();
        let lookup = |name: &str| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
        };
        let placement = match Placement::read_with(&lookup, &|_| open) {
            Ok(placement) => placement,
            Err(error) => return error.to_string(),
        };
        match decide(&placement, &|_| open) {
            Ok(decision) => format!("{}; {}", decision.choice, decision.passed_by.join("; ")),
            Err(error) => error,
        }
    }

    #[test]
    fn the_first_in_the_order_that_is_there_is_taken() {
        let (socket, closed, other) =
            (Descriptor::Socket(1), Descriptor::Closed, Descriptor::Other);
        let rank = "PMI_RANK=1 PMI_SIZE=2";
        for (words, open, parts) in [
            (format!("{SERVER} {rank}"), closed, &["the server of job job; "][..]),
            (format!("{SERVER} {rank} PMI_FD=7 PMI_PORT=h:1 PMI_ID=1"), socket, &["job job"]),
            // What is malformed beside our own server does no harm.
            (format!("{SERVER} {rank} PMI_FD=x PMI_PORT=y"), closed, &["the server of job job"]),
            (format!("{rank} PMI_FD=7"), socket, &["server at PMI_FD=7", "KVS_SERVER is not set"]),
            (format!("{rank} PMI_FD=7 PMI_PORT=h:1 PMI_ID=1"), socket, &["server at PMI_FD=7"]),
            (
                format!("{rank} PMI_FD=7 PMI_PORT=h:1 PMI_ID=1"),
                closed,
                &["PMI_PORT=h:1, PMI_ID=1", "PMI_FD=7 is closed"],
            ),
            ("PMI_PORT=h:1 PMI_ID=1".into(), closed, &["PMI_PORT=h:1", "PMI_FD is not set"]),
            (
                "SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_NTASKS=2 PMI_FD=3".into(),
                socket,
                &["PMI_FD=3"],
            ),
            (
                format!("{STEP} {STEP_OF_TWO}"),
                closed,
                &["the server of step 7.0, which task 0 of this"],
            ),
            (
                format!(
                    "SLURM_NODEID=1 {STEP} {STEP_OF_TWO} OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=2"
                ),
                closed,
                &["the server of step 7.0 on n08"],
            ),
            (format!("{STEP} {STEP_OF_TWO} PMIX_NAMESPACE=slurm.pmix.7.0"), closed, &["step 7.0"]),
            (format!("{STEP} {STEP_OF_TWO} PMI_FD=3 PMI_JOBID=7.0"), socket, &["PMI_FD=3"]),
            (format!("{SERVER} {STEP} {STEP_OF_TWO}"), closed, &["the server of job job"]),
            (format!("{STEP} SLURM_NTASKS=1 SLURM_NODEID=0"), closed, &["a job of one process"]),
            ("".into(), closed, &["a job of one process", "PMI_PORT is not set"]),
            ("PMI_RANK=0 PMI_SIZE=1".into(), closed, &["a job of one process"]),
            (
                "PMI_RANK=0 PMI_SIZE=1 PMI_FD=7".into(),
                closed,
                &["job of one", "PMI_FD=7 is closed"],
            ),
            (
                "PMI_RANK=0 PMI_SIZE=1 PMI_FD=7".into(),
                other,
                &["job of one", "PMI_FD=7 is no socket"],
            ),
            ("PMI_RANK=0 PMI_SIZE=1 PMI_FD=7".into(), socket, &["server at PMI_FD=7"]),
            (
                "PMI_RANK=0 PMI_SIZE=1 SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_NTASKS=4".into(),
                closed,
                &["job of one"],
            ),
        ] {
            let found = choice(&words, open);
            for part in parts {
                assert!(found.contains(part), "{words}: {found}");
            }
        }
    }

    #[test]
    fn a_rank_of_several_is_never_alone() {
        for (words, open, parts) in [
            ("PMI_RANK=1 PMI_SIZE=2", Descriptor::Closed, &["rank 1 of 2", "pmi-ssh"][..]),
            (
                "PMI_RANK=1 PMI_SIZE=2 PMI_FD=7",
                Descriptor::Closed,
                &["rank 1 of 2", "PMI_FD=7", "closed it", "close_fds=False"],
            ),
            ("PMI_RANK=1 PMI_SIZE=2 PMI_FD=7", Descriptor::Other, &["no socket is open"]),
            ("PMI_FD=7", Descriptor::Socket(1), &["PMI_RANK and PMI_SIZE are not"]),
            ("PMI_FD=7", Descriptor::Closed, &["PMI_RANK and PMI_SIZE are not"]),
            ("PMI_PORT=h:1", Descriptor::Closed, &["PMI_ID is not"]),
            ("PMI_PORT=h PMI_ID=1", Descriptor::Closed, &["PMI_PORT=h: expected host:port"]),
            ("PMI_RANK=0 PMI_SIZE=1 PMI_FD=x", Descriptor::Closed, &["PMI_FD=x: expected"]),
            (
                "PMI_RANK=0 PMI_SIZE=1 PMI_FD=7 SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_NTASKS=4",
                Descriptor::Closed,
                &["two starters", "Slurm"],
            ),
            (
                "SLURM_JOB_ID=7 SLURM_STEP_ID=4294967290 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_NTASKS=2 \
                 SLURM_STEP_NODELIST=a",
                Descriptor::Closed,
                &["rank 0 of 2 (by Slurm)", "pmi-srun"],
            ),
        ] {
            let found = choice(words, open);
            for part in parts {
                assert!(found.contains(part), "{words}: {found}");
            }
        }
    }

    /// Daemons of other starters are started by srun, and leave its variables to their ranks.
    #[test]
    fn a_starter_inside_of_a_step_is_not_mistaken_for_it() {
        for (more, part) in [
            ("OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2", "Open MPI"),
            ("OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=4", "Open MPI"),
            ("RANK=0 WORLD_SIZE=4", "torchrun"),
            ("PMIX_NAMESPACE=prterun-n08-1@1 PMIX_RANK=0", "PMIx"),
            ("PMI_FD=7 PMI_RANK=0 PMI_SIZE=2", "PMI_FD=7"),
        ] {
            let found = choice(&format!("{STEP} {STEP_OF_TWO} {more}"), Descriptor::Closed);
            assert!(
                found.contains(part) && !found.contains("the server of step"),
                "{more}: {found}"
            );
        }
        for (more, part) in [
            ("SLURM_STEP_NODELIST=n[1", "SLURM_STEP_NODELIST=n[1: its brackets"),
            ("PMI_STEP_PORTS=9-1", "PMI_STEP_PORTS=9-1: expected LOW-HIGH"),
        ] {
            let found = choice(&format!("{more} {STEP} {STEP_OF_TWO}"), Descriptor::Closed);
            assert!(found.contains(part), "{more}: {found}");
        }
    }

    /// The environment of a rank of ours in which another starter has set more.
    fn nested(more: &str) -> String {
        let record = "PMI_KVS_PLACE=PMI_RANK=1,PMI_SIZE=2,PMI_FD=7:socket:[5],PMI_LOCAL_SIZE=2,SLURM_JOB_ID=9";
        format!(
            "{more} {record} {SERVER} PMI_RANK=1 PMI_SIZE=2 PMI_FD=7 PMI_LOCAL_SIZE=2 SLURM_JOB_ID=9"
        )
    }

    #[test]
    fn nested_starters_never_mix() {
        let (ours, theirs, closed) =
            (Descriptor::Socket(5), Descriptor::Socket(6), Descriptor::Closed);
        for (more, open, parts) in [
            ("", ours, &["the server of job job"][..]),
            ("", closed, &["the server of job job"]),
            // Hydra or gforker inside, with the same rank, size and descriptor number.
            ("", theirs, &["server at PMI_FD=7", "has since set PMI_FD"]),
            ("PMI_RANK=0 PMI_SIZE=1 PMI_FD=9", theirs, &["server at PMI_FD=9"]),
            // Hydra's descriptor closed by a wrapper.
            ("PMI_RANK=0 PMI_SIZE=3 PMI_FD=9", closed, &["rank 0 of 3", "PMI_FD=9"]),
            ("PMI_PORT=h:1 PMI_ID=0", ours, &["PMI_PORT=h:1"]),
            // srun without PMI: the fresh rank wins over our old one, and our descriptor is not its.
            (
                "SLURM_STEP_ID=0 SLURM_PROCID=3 SLURM_NTASKS=4",
                ours,
                &["rank 3 of 4 (by Slurm)", "pmi-ssh"],
            ),
            ("SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_NTASKS=1", ours, &["a job of one"]),
            // A batch script is a job of its own.
            ("SLURM_JOB_ID=10", ours, &["a job of one", "has since set SLURM_JOB_ID"]),
            ("PMIX_NAMESPACE=n", ours, &["PMIX_NAMESPACE", "neither rank nor size"]),
            ("OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=8", ours, &["rank 0 of 8 (by Open MPI)"]),
        ] {
            let found = choice(&nested(more), open);
            for part in parts {
                assert!(found.contains(part), "{more}: {found}");
            }
        }
    }
}
