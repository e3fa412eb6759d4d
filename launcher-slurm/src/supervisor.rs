//! The process beside srun: it owns the server, tells the user what the server sees, and ends a step whose job is over.
//!
//! It is neither srun's child nor in its session, so that srun, the terminal and the shell notice nothing of it. A
//! process descriptor tells when srun has ended, however that came.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::waitpid;
use nix::unistd::{pipe2, setsid};
use pmi_bridge::layout::group_of;
use pmi_bridge::sys::{fork_apart, pidfd_signal, with_children_kept};
use pmi_kvs_server::control::Event;
use pmi_launch::error::Error;
use pmi_launch::report::stall_text;
use pmi_launch::resolve::Installation;
use pmi_launch::server::{Loss, Order, Server};
use pmi_launch::signals::Signals;
use pmi_launch::sys::{Inherited, Spawner, reap};
use pmi_server_io::sockets::Pair;

use crate::step::{Settings, Step};

/// After the job's end the ranks have so long to end by themselves: those that our helpers serve get SIGTERM after two
/// seconds.
const GRACE: Duration = Duration::from_secs(3);

/// The same, when a host has crashed: nobody there will end, and the others only have to say why they end.
const GRACE_AFTER_CRASH: Duration = Duration::from_secs(1);

/// After SIGTERM srun has ended all tasks that it can reach, and waits for those of a host that has crashed for as long
/// as `KillWait` (slurm.conf(5)) and two seconds more (seen with 22.05: 32 s); a second SIGTERM changes nothing. It has
/// given up its allocation by then.
const KILL_AFTER: Duration = Duration::from_secs(2);

/// What the supervisor tells pmi-srun when the server has been started.
const STARTED: &[u8] = b"started";

/// A supervisor that has not begun.
pub struct Supervisor {
    /// Who speaks to the user.
    name: &'static str,
    /// srun's process descriptor.
    srun: OwnedFd,
    /// The server's sockets.
    sockets: Pair,
    /// The job's name.
    job: String,
    /// The job's key: 64 hex digits.
    secret: String,
    /// Ceiling of the log in bytes.
    log_ceiling: u64,
}

impl Supervisor {
    /// Of this step, for this srun.
    pub fn of(step: Step, name: &'static str, srun: OwnedFd, settings: &Settings) -> Supervisor {
        let Step { sockets, job, secret, .. } = step;
        Supervisor { name, srun, sockets, job, secret, log_ceiling: settings.pmi_log_ceiling }
    }

    /// Forks the supervisor and waits until it has started the server. It is no child of this process, which must have
    /// one thread.
    pub fn start(self) -> Result<(), Error> {
        let program =
            Installation::of_this_program().map_err(Error::system("find this program"))?;
        let program = program.server()?;
        let (reader, writer) =
            pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(Error::system("make a pipe"))?;
        let Pair { udp, listener } = &self.sockets;
        let mut kept = vec![
            udp.as_raw_fd(),
            self.srun.as_raw_fd(),
            writer.as_raw_fd(),
            io::stderr().as_raw_fd(),
        ];
        kept.extend(listener.as_ref().map(AsRawFd::as_raw_fd));
        let started = with_children_kept(|| -> io::Result<_> {
            let middle = fork_apart(&kept, || {
                // Fails only for the leader of a group, which a process that has just been forked is not.
                let _ = setsid();
                i32::from(fork_apart(&kept, || self.live(program, writer)).is_err())
            })?;
            Ok(waitpid(middle, None)?)
        });
        started.map_err(Error::system("start the server's supervisor"))?;
        wait_for_word(reader)
    }

    /// The supervisor's life; returns its exit code, which nobody asks for.
    fn live(self, program: PathBuf, writer: OwnedFd) -> i32 {
        match Watch::begin(&self, program) {
            Ok(mut watch) => {
                // If srun is gone, the descriptor tells.
                let _ = File::from(writer).write_all(STARTED);
                watch.run().map_or(1, |()| 0)
            }
            Err(error) => {
                let _ = File::from(writer).write_all(error.to_string().as_bytes());
                1
            }
        }
    }
}

/// The supervisor's word; its end without one means that it was killed. Others may hold the pipe for longer: the server
/// does until it is executed.
fn wait_for_word(reader: OwnedFd) -> Result<(), Error> {
    let mut said = Vec::new();
    let mut reader = File::from(reader);
    (&mut reader)
        .take(STARTED.len() as u64)
        .read_to_end(&mut said)
        .and_then(|_| match said.as_slice() {
            STARTED => Ok(0),
            _ => reader.read_to_end(&mut said),
        })
        .map_err(Error::system("hear the server's supervisor"))?;
    let reason = match said.as_slice() {
        STARTED => return Ok(()),
        b"" => "it ended without a word".to_owned(),
        text => String::from_utf8_lossy(text).into_owned(),
    };
    Err(Error::system("start the job's server")(io::Error::other(reason)))
}

/// The supervisor at work.
struct Watch<'a> {
    name: &'static str,
    job: &'a str,
    srun: &'a OwnedFd,
    signals: Signals,
    spawner: Spawner,
    inherited: Inherited,
    server: Server,
    /// When to end the step, and how.
    due: Option<(Instant, Signal)>,
    /// A host of the step does not answer any more.
    crashed: bool,
    told: Vec<String>,
}

impl<'a> Watch<'a> {
    fn begin(supervisor: &'a Supervisor, program: PathBuf) -> Result<Self, Error> {
        let signals = Signals::take().map_err(Error::system("take signals over"))?;
        let open_files =
            getrlimit(Resource::RLIMIT_NOFILE).map_err(Error::system("ask for limits"))?;
        let inherited = Inherited { mask: signals.mask_before(), open_files };
        // srun's signals are not ours: we go when it has gone.
        SigSet::all().thread_block().map_err(Error::system("block signals"))?;
        let order = Order {
            program: &program,
            job: &supervisor.job,
            size: None,
            groups: &[group_of(&supervisor.job)],
            secret: &supervisor.secret,
            log_ceiling: supervisor.log_ceiling,
            puts: &[],
        };
        let sockets = supervisor.sockets.try_clone().map_err(Error::system("share the sockets"))?;
        let null = File::options().read(true).write(true).open("/dev/null");
        let null = null.map_err(Error::system("open /dev/null"))?.into();
        let mut spawner = Spawner::new();
        let server = Server::start(&order, sockets, null, &mut spawner, &inherited)?;
        let Supervisor { name, job, srun, .. } = supervisor;
        Ok(Watch {
            name,
            job,
            srun,
            signals,
            spawner,
            inherited,
            server,
            due: None,
            crashed: false,
            told: Vec::new(),
        })
    }

    /// Until srun has ended.
    fn run(&mut self) -> io::Result<()> {
        loop {
            let [srun, child, server] = self.wait()?;
            if server {
                self.converse();
            }
            if child {
                self.reap();
            }
            if srun {
                self.server.kill();
                return Ok(());
            }
            self.end_overdue();
        }
    }

    fn wait(&self) -> io::Result<[bool; 3]> {
        let channel = self.server.channel().unwrap_or(self.srun.as_fd());
        let fds = [self.srun.as_fd(), self.signals.as_fd(), channel];
        let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let patience =
            self.due.map(|(due, _)| due.saturating_duration_since(Instant::now()).as_millis() + 1);
        let patience = patience.map_or(PollTimeout::NONE, |millis| {
            PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut fds, patience) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(fds.map(|fd| fd.any().unwrap_or(true))),
            Err(errno) => Err(errno.into()),
        }
    }

    fn converse(&mut self) {
        let (events, open) = self.server.converse();
        events.into_iter().for_each(|event| self.on_event(event));
        if !open {
            // One that does not listen is of no use, should it still run. Its end is noticed as a child's.
            self.server.kill();
            self.server.hang_up();
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Abort { group, rank, host, code, message } if group == self.job => {
                let colon = if message.is_empty() { "" } else { ": " };
                let host = host.map_or(String::new(), |host| format!(" on {host}"));
                self.end(&format!("rank {rank}{host} called PMI_Abort({code}){colon}{message}"));
            }
            // Helpers meet in their group only at the start; a host that crashes then is the end of the job too.
            Event::Fault { message, unanswered: true, .. } => {
                self.crashed = true;
                self.end(&message);
            }
            Event::Fault { group, message, .. } if group == self.job => self.end(&message),
            Event::Lost { group, message } if group == self.job => self.say_once(message),
            Event::Stalled { group, barrier, waited_seconds, missing, hosts }
                if group == self.job =>
            {
                self.say_once(stall_text(barrier, waited_seconds, &missing, &hosts));
            }
            Event::Refused { message, .. } | Event::Error { message } => self.say_once(message),
            // Of the group in which the helpers meet: they tell their ranks.
            Event::Abort { .. } | Event::Fault { .. } => {}
            Event::Stalled { .. } | Event::Lost { .. } => {}
            Event::Ready { .. } => {}
            Event::Finalized { .. } | Event::Statistics(_) => {}
        }
    }

    /// The job is over; its ranks know, and have some time to end.
    fn end(&mut self, text: &str) {
        self.say_once(format!("{text}; ending the step"));
        let grace = if self.crashed { GRACE_AFTER_CRASH } else { GRACE };
        self.due.get_or_insert((Instant::now() + grace, Signal::SIGTERM));
    }

    fn end_overdue(&mut self) {
        let Some((_, signal)) = self.due.filter(|(due, _)| *due <= Instant::now()) else { return };
        // Ends the step on all nodes (srun(1)). It may have ended meanwhile.
        let _ = pidfd_signal(self.srun.as_fd(), signal as i32);
        let waits_in_vain = self.crashed && signal == Signal::SIGTERM;
        self.due = waits_in_vain.then(|| (Instant::now() + KILL_AFTER, Signal::SIGKILL));
    }

    fn reap(&mut self) {
        while self.signals.next().is_some() {}
        while let Some((pid, exit)) = reap() {
            if self.server.pid() != Some(pid) {
                continue;
            }
            let never_began = self.spawner.outcome(pid);
            let (spawner, inherited) = (&mut self.spawner, &self.inherited);
            match self.server.replace(exit, never_began, Instant::now(), spawner, inherited) {
                Loss::Replaced(text) => self.say_once(text),
                Loss::Final(text) => self.end(&text),
            }
        }
    }

    fn say_once(&mut self, text: String) {
        if !self.told.contains(&text) {
            // Where nobody reads it (`2>&1 | head`) the job goes on all the same.
            let _ = writeln!(io::stderr(), "{}: {text}", self.name);
            self.told.push(text);
        }
    }
}
