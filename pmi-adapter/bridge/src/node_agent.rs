//! The process beside the tasks of a node where Slurm starts each by itself: it waits until one of them speaks the wire
//! protocol, and forks a bridge for it then.
//!
//! The first task's prolog becomes it, in a fork; those of the others hand their task over (`meeting`): a process for each
//! task cost more than all the rest of a prolog. It also agrees with the other nodes on who runs where, and keeps the
//! node's board: a task that is alone on its node, joins by itself and dies, would take its board with it, and nobody
//! would miss it.

use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sched::{sched_getaffinity, sched_setaffinity};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, setsid};
use pmi_board::session::{Config, Ensemble};
use pmi_protocol::mapping::PROCESS_MAPPING_KEY;

use crate::layout::Layout;
use crate::meeting::{self, NewTask, Tag};
use crate::plan::{Boss, Plan, Seat, Way};
use crate::poller::{Interest, Poller};
use crate::serve::{attend, plain_mapping, settle};
use crate::sys;

/// How long a prolog tries to hand its task over. It has to try again only where another one has just begun to be the
/// node agent, or has just ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two such tries.
const PAUSE: Duration = Duration::from_micros(200);

/// How long the node agent stays when all tasks that have come are gone, and others have not come: a node has one, or the
/// nodes would be told twice who runs on it.
const LINGER: Duration = Duration::from_secs(5);

/// Numbers of the watched descriptors; each task has two, for its program's end and its listener.
mod token {
    pub const MEETING: u64 = 0;
    pub const LAYOUT: u64 = 1;
    pub const TASKS: u64 = 2;
}

/// A node, as each of its tasks knows it.
pub struct Node {
    /// How to join the job; `rank` is that of one of the tasks.
    pub session: Config,
    /// `PMI_UNIVERSE_SIZE`.
    pub universe_size: u32,
    /// The ranks on this node, the lowest first.
    pub ranks: Vec<u32>,
    /// Must the nodes tell one another who runs where?
    pub is_layout_unknown: bool,
}

/// Lets a task be served: by the node agent of this node, which is started if there is none.
///
/// # Errors
/// The system refuses something, or the node agent does not answer.
pub fn admit(node: Node, new_task: NewTask) -> io::Result<()> {
    let Some(first) = node.ranks.first().filter(|_| node.ranks.len() > 1) else {
        return start(node, None, new_task);
    };
    let address = meeting::address(&node.session, *first)?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match UnixListener::bind_addr(&address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            meeting => return start(node, Some(meeting?), new_task),
        }
        if meeting::hand_over(&address, &new_task)? {
            return Ok(());
        }
        sleep(PAUSE);
    }
    Err(io::Error::other("the process that serves this node's tasks does not begin"))
}

fn start(node: Node, meeting: Option<UnixListener>, new_task: NewTask) -> io::Result<()> {
    let own = [new_task.listener.as_raw_fd(), new_task.pidfd.as_raw_fd()];
    let kept: Vec<RawFd> = meeting.iter().map(AsRawFd::as_raw_fd).chain(own).collect();
    sys::start_helper(&kept, true, || {
        settle();
        let agent = NodeAgent::open(node, meeting);
        let lived = agent.and_then(|mut agent| {
            agent.admit_task(new_task)?;
            agent.live()
        });
        i32::from(lived.is_err())
    })
}

/// A task of this node.
struct Task {
    tag: Tag,
    /// Readable when its program has ended; `None` afterwards.
    pidfd: Option<OwnedFd>,
    /// Where its program will speak; `None` afterwards.
    listener: Option<TcpListener>,
}

struct NodeAgent {
    node: Node,
    meeting: Option<UnixListener>,
    tasks: Vec<Task>,
    poller: Poller,
    /// The node's board. If there can be none, whoever speaks hears why.
    board: Option<Ensemble>,
    layout: Option<Layout>,
    /// Who runs on which node, or why nobody knows; `None` until that is known.
    mapping: Option<Result<String, String>>,
    /// When the last task ended.
    empty_since: Option<Instant>,
}

impl NodeAgent {
    fn open(node: Node, meeting: Option<UnixListener>) -> io::Result<NodeAgent> {
        let mut agent = NodeAgent {
            board: Ensemble::open(node.session.clone()).ok(),
            poller: Poller::new()?,
            tasks: Vec::new(),
            layout: None,
            mapping: None,
            empty_since: None,
            node,
            meeting,
        };
        if let Some(meeting) = &agent.meeting {
            meeting.set_nonblocking(true)?;
            agent.poller.add(meeting, token::MEETING, Interest::Read)?;
        }
        agent.begin_layout()?;
        Ok(agent)
    }

    fn begin_layout(&mut self) -> io::Result<()> {
        let Node { session, ranks, is_layout_unknown, .. } = &self.node;
        if !is_layout_unknown {
            self.mapping = Some(Ok(plain_mapping(session)));
            return Ok(());
        }
        match Layout::begin(session, ranks) {
            Ok(layout) => {
                self.poller.add(layout.socket(), token::LAYOUT, Interest::Read)?;
                self.layout = Some(layout);
                self.advance_layout()
            }
            Err(error) => {
                self.mapping = Some(Err(error.to_string()));
                Ok(())
            }
        }
    }

    fn live(&mut self) -> io::Result<()> {
        let mut ready = Vec::new();
        while !self.is_over() {
            self.poller.wait(self.deadline(), &mut ready)?;
            for token in &ready {
                self.handle(*token)?;
            }
            self.advance_layout()?;
            reap();
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let all_came = self.tasks.len() >= self.node.ranks.len();
        self.empty_since.is_some_and(|since| all_came || since + LINGER <= Instant::now())
    }

    fn deadline(&self) -> Option<Instant> {
        let layout = self.layout.as_ref().and_then(Layout::deadline);
        layout.into_iter().chain(self.empty_since.map(|since| since + LINGER)).min()
    }

    fn handle(&mut self, token: u64) -> io::Result<()> {
        match token {
            token::LAYOUT => Ok(()),
            token::MEETING => {
                while let Some(new_task) = self.meeting.as_ref().and_then(meeting::take) {
                    self.admit_task(new_task)?;
                }
                Ok(())
            }
            _ => {
                let (task, speaks) = ((token - token::TASKS) / 2, (token - token::TASKS) % 2 == 1);
                match speaks {
                    true => self.serve(task as usize),
                    false => self.ended(task as usize),
                }
            }
        }
    }

    fn admit_task(&mut self, new_task: NewTask) -> io::Result<()> {
        let number = self.tasks.len();
        self.poller.add(&new_task.pidfd, token_of(number), Interest::Read)?;
        let NewTask { tag, listener, pidfd } = new_task;
        self.tasks.push(Task { tag, pidfd: Some(pidfd), listener: Some(listener) });
        self.empty_since = None;
        self.listen(number)
    }

    /// Hears whether the task speaks, once it could be answered.
    fn listen(&mut self, number: usize) -> io::Result<()> {
        match (&self.tasks[number].listener, &self.mapping) {
            (Some(listener), Some(_)) => {
                self.poller.add(listener, token_of(number) + 1, Interest::Read)
            }
            _ => Ok(()),
        }
    }

    fn advance_layout(&mut self) -> io::Result<()> {
        let Some(layout) = &mut self.layout else { return Ok(()) };
        let mapping = match layout.advance() {
            Ok(None) => return Ok(()),
            Ok(Some(mapping)) => Ok(mapping),
            Err(error) => Err(error.to_string()),
        };
        self.poller.remove(layout.socket(), token::LAYOUT);
        if let (Ok(mapping), Some(board)) = (&mapping, &self.board) {
            // For ranks that load our library. If the board has no room, they hear that nobody has told them.
            let _ = board.put_attribute(PROCESS_MAPPING_KEY.as_bytes(), mapping.as_bytes());
        }
        (self.layout, self.mapping) = (None, Some(mapping));
        (0..self.tasks.len()).try_for_each(|number| self.listen(number))
    }

    /// Forks a bridge for a task that has spoken.
    fn serve(&mut self, number: usize) -> io::Result<()> {
        let task = &mut self.tasks[number];
        let Some((listener, pidfd)) = task.listener.take().zip(task.pidfd.as_ref()) else {
            return Ok(());
        };
        self.poller.remove(&listener, token_of(number) + 1);
        let Tag { rank, appnum, id, program } = task.tag;
        let plan = Plan {
            session: Config { rank, ..self.node.session.clone() },
            universe_size: self.node.universe_size,
            seats: vec![Seat { rank, appnum, way: Way::Id(id) }],
            listener: Some(listener),
            boss: Boss::Program { pidfd: pidfd.try_clone()?, stderr_of: Some(program) },
        };
        let kept: Vec<RawFd> = plan.descriptors().collect();
        let mapping = self.mapping.clone().unwrap_or_else(|| Err("nobody was asked".to_owned()));
        // If it fails, the program's connection ends; the other tasks are not to suffer.
        let _ = sys::fork_apart(&kept, || {
            move_to(program);
            attend(plan, mapping)
        });
        Ok(())
    }

    /// A program has ended. It may have joined by itself, and died.
    fn ended(&mut self, number: usize) -> io::Result<()> {
        let task = &mut self.tasks[number];
        if let Some(pidfd) = task.pidfd.take() {
            self.poller.remove(&pidfd, token_of(number));
        }
        if let Some(listener) = task.listener.take() {
            self.poller.remove(&listener, token_of(number) + 1);
        }
        self.board.iter_mut().for_each(Ensemble::report_lost);
        if self.tasks.iter().all(|task| task.pidfd.is_none()) {
            self.empty_since = Some(Instant::now());
        }
        Ok(())
    }
}

/// The number of the descriptor that tells of this task's end; its listener has the next one.
fn token_of(task: usize) -> u64 {
    token::TASKS + 2 * task as u64
}

/// Makes this process a neighbour of the program: on the processors that the program may use, and in a session, and so a
/// scheduling group, of its own.
fn move_to(program: Pid) {
    let _ = setsid();
    if let Ok(processors) = sched_getaffinity(program) {
        // It may have ended; then it does not matter.
        let _ = sched_setaffinity(Pid::from_raw(0), &processors);
    }
}

/// Bridges that have ended are not to stay as zombies.
fn reap() {
    let ended = || waitpid(None, Some(WaitPidFlag::WNOHANG));
    while matches!(ended(), Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..))) {}
}
