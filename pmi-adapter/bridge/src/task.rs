//! One task of a job under somebody else's starter: its place in the job, the helper beside it, and its environment.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::fmt::Display;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::ffi::OsStringExt;

use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::unistd::{Pid, execvpe};
use pmi_client::backend;
use pmi_client::backend::probe::{Choice, decide};
use pmi_client::environment::descriptor::Descriptor;
use pmi_client::environment::{MAPPING, MAPPING_BY_HELPER, Placement, RECORD, Server, record};

use pmi_protocol::key::group_number;

use crate::door::{listen, random_id};
use crate::meeting::{NewTask, Tag};
use crate::node_agent::{self, Node};
use crate::plan::{Boss, Plan, Seat, Way};
use crate::{offer, serve, sys};

/// What is cut from the number that stands for a job's name: the rest is positive in any signed type of 64 bits, and
/// has no more digits than the times in microseconds that Open MPI gets from pmi-ssh.
const JOB_NUMBER_SHIFT: u32 = 16;

/// Exit code of failures that come before the program.
pub const FAILED: u8 = 1;
/// Exit code if the program is not found, as in a shell.
pub const NOT_FOUND: u8 = 127;
/// Exit code if the program cannot be run.
pub const NOT_RUN: u8 = 126;

/// Why the program does not run.
pub struct Failure {
    /// What a person should read.
    pub text: String,
    /// The exit code.
    pub code: u8,
}

impl Failure {
    /// A failure of ours.
    pub fn own(text: impl Display) -> Failure {
        Failure { text: text.to_string(), code: FAILED }
    }

    fn system(what: &'static str) -> impl Fn(io::Error) -> Failure {
        move |error| Failure::own(format_args!("cannot {what}: {error}"))
    }
}

/// Variables with their values.
pub type Environment = BTreeMap<OsString, OsString>;

/// How a task is served.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// On `PMI_PORT` and `PMI_ID` instead of `PMI_FD`. A descriptor reaches nobody but the program that this process
    /// becomes.
    pub port: bool,
    /// With the variables by which programs find our libraries.
    pub library: bool,
    /// The process that is, or will be, the program.
    pub program: Pid,
    /// This process is another one than the program's, and will end before it, with its process group; its standard
    /// streams are not the program's. The helper then lives in a session of its own and speaks through the program's
    /// standard error.
    pub apart: bool,
}

/// Starts the helper, if there is somebody to serve, and returns the environment that the program shall have.
///
/// # Errors
/// The environment contradicts itself, or names no server for one rank of several; or the system refuses something.
/// Nothing is left running then.
pub fn prepare(mut environment: Environment, service: &Service) -> Result<Environment, Failure> {
    let placement = Placement::read(&|name| text_of(&environment, name)).map_err(Failure::own)?;
    let Some(server) = &placement.server else {
        return alone(&placement, environment);
    };
    let is_layout_unknown = is_layout_unknown(&environment, placement.size);
    let seat = serve(service, &placement, server, is_layout_unknown)?;
    environment.retain(|name, _| !offer::is_foreign(name));
    place(&mut environment, &placement);
    if service.library {
        preset(&mut environment, &server.job);
    }
    environment.extend(seat.variables.iter().map(|(name, value)| ((*name).into(), value.into())));
    environment.remove(OsStr::new(MAPPING));
    if service.apart && is_layout_unknown {
        environment.insert(MAPPING.into(), MAPPING_BY_HELPER.into());
    }
    let lookup = |name: &str| text_of(&environment, name);
    let record = record(&lookup, seat.inode);
    environment.insert(RECORD.into(), record.into());
    Ok(environment)
}

fn text_of(environment: &Environment, name: &str) -> Option<String> {
    environment.get(OsStr::new(name)).map(|value| value.to_string_lossy().into_owned())
}

/// Without a server of ours there must be somebody else's, or no need of one.
fn alone(placement: &Placement, environment: Environment) -> Result<Environment, Failure> {
    match decide(placement, &Descriptor::inspect).map_err(Failure::own)?.choice {
        // The tasks' own server serves those who load our libraries, of which this program may not be one.
        Choice::Step(_) => Err(Failure::own(placement.no_server())),
        _ => Ok(environment),
    }
}

/// What the scheduler's variables said, in the words that every PMI client knows.
fn place(environment: &mut Environment, placement: &Placement) {
    let local =
        [("PMI_LOCAL_RANK", placement.local_rank), ("PMI_LOCAL_SIZE", placement.local_size)];
    let known = local.into_iter().filter_map(|(name, number)| Some((name, number?)));
    let all = known.chain([("PMI_RANK", placement.rank), ("PMI_SIZE", placement.size)]);
    environment.extend(all.map(|(name, number)| (name.into(), number.to_string().into())));
}

/// All ranks must tell Open MPI the same number for their job, and each job another one: hence the job's name.
fn preset(environment: &mut Environment, job: &str) {
    let programs = std::env::current_exe().ok();
    let directory = programs.as_deref().and_then(std::path::Path::parent);
    let Some(library) = directory.and_then(offer::library) else { return };
    for (name, value) in offer::presets(&library, group_number(job) >> JOB_NUMBER_SHIFT) {
        let own = environment.get(OsStr::new(name)).map(OsString::as_os_str);
        if own.is_none() || name == offer::LIBRARY_PATH {
            environment.insert(name.into(), offer::before_own(name, &value, own));
        }
    }
}

/// How the program reaches its helper.
struct Served {
    variables: Vec<(&'static str, String)>,
    /// Inode of the socket at `PMI_FD`.
    inode: Option<u64>,
}

/// Are the nodes to tell one another who runs where? Not where all ranks, or no two, share one.
fn is_layout_unknown(environment: &Environment, size: u32) -> bool {
    let nodes = text_of(environment, "SLURM_STEP_NUM_NODES").and_then(|text| text.parse().ok());
    nodes != Some(1) && nodes != Some(size)
}

fn serve(
    service: &Service,
    placement: &Placement,
    server: &Server,
    is_layout_unknown: bool,
) -> Result<Served, Failure> {
    let failed = Failure::system("start the PMI service");
    let session = backend::session_config(placement, server)
        .map_err(|failure| Failure::own(failure.reason.unwrap_or_default()))?;
    let pidfd = sys::pidfd_open(service.program)
        .map_err(Failure::system("watch the program's process (pidfd_open, Linux 5.3 or later)"))?;
    let (rank, appnum, universe_size) = (placement.rank, placement.appnum, placement.universe_size);
    if service.apart {
        let (id, listener, served) = port().map_err(&failed)?;
        let ranks = placement.clique.clone().unwrap_or_else(|| vec![rank]);
        let node = Node { session, universe_size, ranks, is_layout_unknown };
        let tag = Tag { rank, appnum, id, program: service.program };
        let new_task = NewTask { tag, listener, pidfd };
        node_agent::admit(node, new_task).map_err(failed)?;
        return Ok(served);
    }
    let (way, listener, served) = match service.port {
        true => port().map(|(id, listener, served)| (Way::Id(id), Some(listener), served)),
        false => descriptor().map(|(way, served)| (way, None, served)),
    }
    .map_err(&failed)?;
    let boss = Boss::Program { pidfd, stderr_of: None };
    let seats = vec![Seat { rank, appnum, way }];
    let plan = Plan { session, universe_size, seats, listener, boss };
    let kept: Vec<RawFd> = plan.descriptors().chain([io::stderr().as_raw_fd()]).collect();
    sys::start_helper(&kept, false, || serve::run(plan)).map_err(failed)?;
    Ok(served)
}

fn descriptor() -> io::Result<(Way, Served)> {
    let (ours, theirs) = sys::socket_pair()?;
    sys::inherit(theirs.as_fd())?;
    let inode = fstat(&theirs)?.st_ino;
    let variables = vec![("PMI_FD", theirs.as_raw_fd().to_string())];
    // Belongs to the program from here on.
    std::mem::forget(theirs);
    Ok((Way::Socket(ours), Served { variables, inode: Some(inode) }))
}

fn port() -> io::Result<(u32, TcpListener, Served)> {
    let listener = listen()?;
    let id = random_id()?;
    let variables =
        vec![("PMI_PORT", listener.local_addr()?.to_string()), ("PMI_ID", id.to_string())];
    Ok((id, listener, Served { variables, inode: None }))
}

/// Replaces this process by the program. Signal mask and ignored signals stay as the starter set them.
///
/// # Errors
/// It returns only if the program cannot be run.
pub fn execute(command: &[OsString], environment: Environment) -> Result<Infallible, Failure> {
    let nul = |_| Failure::own("an argument or environment variable holds a NUL byte");
    let c_string = |text: OsString| CString::new(text.into_vec());
    let argv = command.iter().cloned().map(c_string).collect::<Result<Vec<_>, _>>();
    let argv = argv.map_err(nul)?;
    let assignments = environment.into_iter().map(|(name, value)| {
        let mut assignment = name;
        assignment.push("=");
        assignment.push(value);
        assignment
    });
    let envp = assignments.map(c_string).collect::<Result<Vec<_>, _>>().map_err(nul)?;
    sys::default_sigpipe();
    let Err(errno) = execvpe(&argv[0], &argv, &envp);
    let program = command[0].display();
    Err(match errno {
        Errno::ENOENT => Failure {
            text: format!("'{program}' is not found: check its path, or PATH"),
            code: NOT_FOUND,
        },
        errno => {
            Failure { text: format!("cannot run '{program}': {}", errno.desc()), code: NOT_RUN }
        }
    })
}
