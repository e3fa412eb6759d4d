//! One task: its place in the job, the helper, and the program.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::fmt::Display;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, execvpe};
use pmi_bridge::door::{listen, random_id};
use pmi_bridge::plan::{Boss, Plan, Seat, Way};
use pmi_bridge::{offer, serve, sys};
use pmi_client::backend;
use pmi_client::backend::probe::decide;
use pmi_client::environment::descriptor::Descriptor;
use pmi_client::environment::{Placement, RECORD, Server, record};

use crate::args::Args;
use crate::{FAILED, NOT_FOUND, NOT_RUN};

/// Why the program does not run.
pub struct Failure {
    /// What a person should read.
    pub text: String,
    /// The exit code.
    pub code: u8,
}

impl Failure {
    fn own(text: impl Display) -> Failure {
        Failure { text: text.to_string(), code: FAILED }
    }

    fn system(what: &'static str) -> impl Fn(io::Error) -> Failure {
        move |error| Failure::own(format_args!("cannot {what}: {error}"))
    }
}

type Environment = BTreeMap<OsString, OsString>;

/// Starts the helper, if there is somebody to serve, and becomes the program. Returns only if that fails.
pub fn become_program(args: &Args) -> Failure {
    match prepare(args).and_then(|environment| execute(args, environment)) {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

fn prepare(args: &Args) -> Result<Environment, Failure> {
    let mut environment: Environment = std::env::vars_os().collect();
    let placement = Placement::read(&|name| text_of(&environment, name)).map_err(Failure::own)?;
    let Some(server) = &placement.server else {
        return alone(&placement, environment);
    };
    let seat = serve(args, &placement, server)?;
    environment.retain(|name, _| !offer::is_foreign(name));
    place(&mut environment, &placement);
    if !args.no_pmi_library {
        preset(&mut environment);
    }
    environment.extend(seat.variables.iter().map(|(name, value)| ((*name).into(), value.into())));
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
    decide(placement, &Descriptor::inspect).map(|_| environment).map_err(Failure::own)
}

/// What the scheduler's variables said, in the words that every PMI client knows.
fn place(environment: &mut Environment, placement: &Placement) {
    let local =
        [("PMI_LOCAL_RANK", placement.local_rank), ("PMI_LOCAL_SIZE", placement.local_size)];
    let known = local.into_iter().filter_map(|(name, number)| Some((name, number?)));
    let all = known.chain([("PMI_RANK", placement.rank), ("PMI_SIZE", placement.size)]);
    environment.extend(all.map(|(name, number)| (name.into(), number.to_string().into())));
}

fn preset(environment: &mut Environment) {
    let programs = std::env::current_exe().ok();
    let directory = programs.as_deref().and_then(std::path::Path::parent);
    let Some(library) = directory.and_then(offer::library) else { return };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    for (name, value) in offer::presets(&library, now.as_micros() as u64) {
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

fn serve(args: &Args, placement: &Placement, server: &Server) -> Result<Served, Failure> {
    let failed = Failure::system("start the PMI service");
    let session = backend::session_config(placement, server)
        .map_err(|failure| Failure::own(failure.reason.unwrap_or_default()))?;
    let me = Pid::this();
    let pidfd = sys::pidfd_open(me)
        .map_err(Failure::system("watch this process (pidfd_open, Linux 5.3 or later)"))?;
    let (way, listener, served) = match args.pmi_port {
        true => port().map_err(&failed)?,
        false => descriptor().map_err(&failed)?,
    };
    let seat = Seat { rank: placement.rank, appnum: placement.appnum, way };
    let plan = Plan {
        session,
        universe_size: placement.universe_size,
        seats: vec![seat],
        listener,
        boss: Boss::Program { pidfd },
    };
    sys::with_children_kept(|| start_helper(plan)).map_err(failed)?;
    Ok(served)
}

fn descriptor() -> io::Result<(Way, Option<TcpListener>, Served)> {
    let (ours, theirs) = sys::socket_pair()?;
    sys::inherit(theirs.as_fd())?;
    let inode = fstat(&theirs)?.st_ino;
    let variables = vec![("PMI_FD", theirs.as_raw_fd().to_string())];
    // Belongs to the program from here on.
    std::mem::forget(theirs);
    Ok((Way::Socket(ours), None, Served { variables, inode: Some(inode) }))
}

fn port() -> io::Result<(Way, Option<TcpListener>, Served)> {
    let listener = listen()?;
    let id = random_id()?;
    let variables =
        vec![("PMI_PORT", listener.local_addr()?.to_string()), ("PMI_ID", id.to_string())];
    Ok((Way::Id(id), Some(listener), Served { variables, inode: None }))
}

/// The helper is a grandchild: the program must not find a child that it has not started.
fn start_helper(plan: Plan) -> io::Result<()> {
    let kept: Vec<RawFd> = plan.descriptors().chain([io::stderr().as_raw_fd()]).collect();
    let middle = sys::fork_apart(&kept, || match sys::fork_apart(&kept, || serve::run(plan)) {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or(libc::EAGAIN),
    })?;
    match waitpid(middle, None)? {
        WaitStatus::Exited(_, 0) => Ok(()),
        WaitStatus::Exited(_, errno) => Err(io::Error::from_raw_os_error(errno)),
        _ => Err(io::Error::other("the helper's parent was killed")),
    }
}

/// Replaces this process by the program. Signal mask and ignored signals stay as the starter set them.
fn execute(args: &Args, environment: Environment) -> Result<Infallible, Failure> {
    let nul = |_| Failure::own("an argument or environment variable holds a NUL byte");
    let c_string = |text: OsString| CString::new(text.into_vec());
    let argv = args.command.iter().cloned().map(c_string).collect::<Result<Vec<_>, _>>();
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
    let program = args.command[0].display();
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
