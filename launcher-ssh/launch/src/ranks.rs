//! The ranks' processes: starting them, passing signals on, and knowing which have ended.

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{self, Pid};

use crate::bridge::Bridge;
use crate::environment::{Contract, Environment, Reach};
use crate::error::Error;
use crate::guardian::kill_group;
use crate::report;
use crate::resolve;
use crate::spec::App;
use crate::sys::{CArray, Child, Group, GroupTable, Inherited, SpawnError, Spawner, Stage};

/// One app, ready to be executed.
struct Image {
    count: u32,
    path: Rc<CString>,
    argv: Rc<CArray>,
    shell_argv: Rc<CArray>,
    wdir: Option<Rc<CString>>,
    environment: Environment,
}

/// The launcher's ends of a new rank's standard streams.
pub struct Streams {
    /// Its standard input, non-blocking; only rank 0 has one.
    pub input: Option<OwnedFd>,
    /// Its standard output.
    pub output: OwnedFd,
    /// Its standard error.
    pub error: OwnedFd,
}

/// A rank that could not be started.
pub struct StartFailure {
    /// Why.
    pub reason: String,
    /// The job's exit code.
    pub code: i32,
}

/// All ranks of a job on this host.
pub struct Ranks {
    images: Vec<Image>,
    size: usize,
    started: usize,
    /// App of the next rank, and how many of its ranks have been started.
    next: (usize, u32),
    by_pid: HashMap<Pid, usize>,
    /// The process group of each rank that has been started, until nothing of it is left.
    groups: Rc<GroupTable>,
    /// Ranks that have ended and left processes of their group behind.
    leftovers: Vec<usize>,
    null: OwnedFd,
}

impl Ranks {
    /// Finds every program and prepares every environment. Starts nothing.
    pub fn prepare(apps: &[App], contract: &Contract, null: OwnedFd) -> Result<Self, Error> {
        let size = apps.iter().map(|app| app.count as usize).sum();
        let numbered = apps.iter().enumerate();
        let images = numbered
            .map(|(appnum, app)| Image::prepare(app, appnum as u32, contract))
            .collect::<Result<_, _>>()?;
        let groups =
            GroupTable::new(size).map_err(Error::system("make the table of process groups"))?;
        Ok(Ranks {
            images,
            size,
            started: 0,
            next: (0, 0),
            by_pid: HashMap::with_capacity(size),
            groups: Rc::new(groups),
            leftovers: Vec::new(),
            null,
        })
    }

    /// The table that the guardian watches.
    pub fn groups(&self) -> &GroupTable {
        &self.groups
    }

    /// The rank that would be started next, if there is one.
    pub fn next_rank(&self) -> Option<u32> {
        (self.started < self.size).then_some(self.started as u32)
    }

    /// Starts no more ranks.
    pub fn start_no_more(&mut self) {
        self.size = self.started;
    }

    /// Have all ranks been started, and have all ended?
    pub fn have_ended(&self) -> bool {
        self.started == self.size && self.by_pid.is_empty()
    }

    /// Starts the next rank.
    pub fn start_next(
        &mut self,
        bridge: &mut Bridge,
        spawner: &mut Spawner,
        inherited: &Inherited,
    ) -> Result<(Pid, Streams), StartFailure> {
        let rank = self.started;
        while self.next.1 == self.images[self.next.0].count {
            self.next = (self.next.0 + 1, 0);
        }
        let image = &self.images[self.next.0];
        let started = bridge
            .reach(rank as u32)
            .map_err(|error| {
                let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
                SpawnError { stage: Stage::Setup, errno }
            })
            .and_then(|reach| {
                start(image, rank as u32, reach, &self.groups, &self.null, spawner, inherited)
            });
        let (pid, streams) = started.map_err(|error| self.start_failure(rank as u32, error))?;
        self.by_pid.insert(pid, rank);
        self.started += 1;
        self.next.1 += 1;
        Ok((pid, streams))
    }

    /// Explains why a rank's program has not begun.
    pub fn start_failure(&self, rank: u32, error: SpawnError) -> StartFailure {
        let mut first = 0;
        let image = self.images.iter().find(|image| {
            first += image.count;
            rank < first
        });
        let wdir = image.and_then(|image| image.wdir.as_ref());
        let wdir = wdir.map_or(".".into(), |wdir| wdir.to_string_lossy());
        let (reason, code) = report::spawn_text(error, &wdir);
        StartFailure { reason, code }
    }

    /// A child of ours has ended. Its rank, if it was one; otherwise a process whose parent had died before it.
    pub fn on_exit(&mut self, pid: Pid) -> Option<u32> {
        let rank = self.by_pid.remove(&pid);
        self.leftovers.extend(rank);
        self.forget_empty_groups();
        rank.map(|rank| rank as u32)
    }

    /// A group that is empty must not be signalled any more: its number may come to be somebody else's. We are
    /// the reaper of every orphan of the job, so that a group becomes empty only before our eyes.
    fn forget_empty_groups(&mut self) {
        let slots = self.groups.slots();
        self.leftovers.retain(|rank| {
            let group = Pid::from_raw(slots[*rank].load(Ordering::SeqCst));
            let empty = killpg(group, None) == Err(Errno::ESRCH);
            if empty {
                slots[*rank].store(0, Ordering::SeqCst);
            }
            !empty
        });
    }

    /// Passes a signal on to every process group.
    pub fn signal(&self, signal: Signal) {
        for group in self.live_groups() {
            // A group that has ended a moment ago needs no signal.
            let _ = killpg(Pid::from_raw(group), signal);
        }
    }

    /// Asks every rank to end, also those that are stopped.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
        self.signal(Signal::SIGCONT);
    }

    /// Kills every process group.
    pub fn kill(&self) {
        self.live_groups().for_each(kill_group);
    }

    fn live_groups(&self) -> impl Iterator<Item = i32> + '_ {
        let groups = self.groups.slots().iter().map(|slot| slot.load(Ordering::SeqCst));
        groups.filter(|group| *group > 0)
    }
}

impl Image {
    fn prepare(app: &App, appnum: u32, contract: &Contract) -> Result<Self, Error> {
        let search_path = resolve::effective_path(&app.set);
        let path = resolve::program(&app.program, app.wdir.as_deref(), search_path.as_deref())?;
        let path = c_string(path.as_os_str())?;
        let args = app.args.iter().map(|arg| c_string(arg)).collect::<Result<Vec<_>, _>>()?;
        let wdir = app.wdir.as_deref().map(Path::as_os_str).map(c_string).transpose()?;
        let with = |first: Vec<CString>| {
            Rc::new(CArray::new(first.into_iter().chain(args.clone()).collect()))
        };
        Ok(Image {
            count: app.count,
            argv: with(vec![c_string(&app.program)?]),
            shell_argv: with(vec![c"/bin/sh".to_owned(), path.clone()]),
            path: Rc::new(path),
            wdir: wdir.map(Rc::new),
            environment: Environment::new(std::env::vars_os(), app, appnum, contract)?,
        })
    }
}

fn start(
    image: &Image,
    rank: u32,
    (reach, end): (Reach, Option<OwnedFd>),
    groups: &Rc<GroupTable>,
    null: &OwnedFd,
    spawner: &mut Spawner,
    inherited: &Inherited,
) -> Result<(Pid, Streams), SpawnError> {
    let setup = |errno| SpawnError { stage: Stage::Setup, errno };
    let (output, its_output) = unistd::pipe2(OFlag::O_CLOEXEC).map_err(setup)?;
    let (error, its_error) = unistd::pipe2(OFlag::O_CLOEXEC).map_err(setup)?;
    let (its_input, input) = (rank == 0).then(input_pipe).transpose().map_err(setup)?.unzip();
    let child = Child {
        path: image.path.clone(),
        argv: image.argv.clone(),
        shell_argv: Some(image.shell_argv.clone()),
        envp: image.environment.of_rank(rank, rank, reach),
        wdir: image.wdir.clone(),
        group: Group::Own,
        slot: Some((groups.clone(), rank as usize)),
        inherited: *inherited,
    };
    let stdio = [its_input.as_ref().unwrap_or(null), &its_output, &its_error].map(AsFd::as_fd);
    let keep: Vec<_> = end.iter().map(AsFd::as_fd).collect();
    let pid = spawner.spawn(child, stdio, &keep)?;
    Ok((pid, Streams { input, output, error }))
}

/// Reading end and non-blocking writing end.
fn input_pipe() -> nix::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = unistd::pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((reader, writer))
}

fn c_string(text: &OsStr) -> Result<CString, Error> {
    let named = || Error::Nul(format!("argument '{}'", text.display()));
    CString::new(text.as_bytes()).map_err(|_| named())
}

/// `/dev/null`, open for reading and writing.
pub fn open_null() -> io::Result<OwnedFd> {
    let file = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    Ok(file.into())
}
