//! Which rank runs on which node, where a starter tells each rank only of its own node.
//!
//! `srun` does that, and MPI libraries ask for `PMI_process_mapping` before their first barrier. So the helpers of all
//! ranks tell one another, in a process group of their own on the job's server: not in the job's, because ranks that
//! load our library do not know of this exchange and would not come to its barrier.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use pmi_board::session::{Config, Error, Session};
use pmi_protocol::limits::VALUE_MAX;
use pmi_protocol::mapping::format_mapping;

/// The name of the group in which the helpers of a job's ranks meet.
pub fn group_of(job: &str) -> String {
    format!("{job}.layout")
}

/// What a rank has to tell.
pub struct Layout {
    session: Config,
    first: u32,
}

impl Layout {
    /// The rank of `session`, on whose node `first` is the lowest rank.
    pub fn new(session: &Config, first: u32) -> Layout {
        Layout { session: Config { job: group_of(&session.job), ..session.clone() }, first }
    }

    /// Begins the exchange in a thread of its own: it ends when all ranks have begun it.
    pub fn begin(self) -> io::Result<Agreement> {
        let bell = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?);
        let (sender, result) = mpsc::channel();
        let theirs = bell.clone();
        thread::Builder::new().spawn(move || {
            // Nobody listens if the program has ended.
            let _ = sender.send(self.exchange());
            let _ = theirs.write(1);
        })?;
        Ok(Agreement { bell, result })
    }

    fn exchange(self) -> Result<String, Error> {
        let Layout { session: config, first } = self;
        let (rank, size) = (config.rank, config.size);
        let session = Session::join(config)?;
        let space = session.kvsname().as_bytes();
        session.put(space, rank.to_string().as_bytes(), first.to_string().as_bytes())?;
        session.commit(space)?;
        session.barrier()?;
        let first_of = |rank: u32| {
            session.get(space, rank.to_string().as_bytes(), |value| {
                String::from_utf8_lossy(value).into_owned()
            })
        };
        let firsts = (0..size).map(first_of).collect::<Result<Vec<_>, _>>()?;
        session.finalize()?;
        Ok(mapping(&firsts))
    }
}

/// The mapping of ranks for which `firsts` has the lowest rank of the node.
fn mapping(firsts: &[String]) -> String {
    let mut numbers = HashMap::new();
    let nodes: Vec<u32> = firsts
        .iter()
        .map(|first| {
            let next = numbers.len() as u32;
            *numbers.entry(first).or_insert(next)
        })
        .collect();
    let text = format_mapping(&nodes);
    match text.len() <= VALUE_MAX {
        true => text,
        // Slower, never wrong, and the same for all ranks.
        false => each_alone(firsts.len() as u32),
    }
}

/// The mapping that puts each rank on a node of its own.
pub fn each_alone(size: u32) -> String {
    format!("(vector,(0,{size},1))")
}

/// An exchange that has begun.
pub struct Agreement {
    bell: Arc<EventFd>,
    result: Receiver<Result<String, Error>>,
}

impl Agreement {
    /// Waits for the mapping; `None` if `end` becomes readable before.
    pub fn wait(self, end: BorrowedFd<'_>) -> io::Result<Option<String>> {
        loop {
            let mut fds = [self.bell.as_fd(), end].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            if fds[0].any() != Some(true) {
                return Ok(None);
            }
            let result = self.result.recv().map_err(io::Error::other)?;
            return result.map(Some).map_err(|error| {
                io::Error::other(format!("cannot find out which ranks run on which node: {error}"))
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(firsts: &[u32]) -> String {
        mapping(&firsts.iter().map(u32::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn nodes_are_numbered_in_the_order_of_their_ranks() {
        assert_eq!(of(&[0, 0, 2, 2]), "(vector,(0,2,2))");
        assert_eq!(of(&[0, 1, 0, 1]), format_mapping(&[0, 1, 0, 1]));
        assert_eq!(of(&[0, 1, 1, 0, 4]), format_mapping(&[0, 1, 1, 0, 2]));
    }

    #[test]
    fn a_mapping_that_no_client_could_read_is_given_up() {
        let odd: Vec<u32> =
            (0..4096u32).map(|rank| (rank.wrapping_mul(2654435761) >> 20) % 61).collect();
        assert_eq!(of(&odd), each_alone(4096));
    }
}
