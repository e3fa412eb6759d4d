//! Running a job on this host.
//!
//! Order of events: the programs are found, the socket is bound, the server is started, the board is made, the
//! guardian is forked; then the event loop starts the ranks, a few at a time, between looks at everything else.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::SystemTime;

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pmi_board::session::Config;
use pmi_bridge::door::listen;
use pmi_bridge::offer;
use pmi_client::environment::timeout;
use pmi_protocol::key::Secret;
use pmi_protocol::mapping::{PROCESS_MAPPING_KEY, format_mapping};
use pmi_server_io::sockets::Pair;

use crate::bridge::{Access, Bridge};
use crate::conductor::Conductor;
use crate::environment::Contract;
use crate::error::Error;
use crate::guardian::Guardian;
use crate::input::Input;
use crate::key;
use crate::node::Node;
use crate::output::Output;
use crate::ranks::{self, Ranks};
use crate::report::Names;
use crate::resolve::Installation;
use crate::server::{self, Order, Server};
use crate::signals::Signals;
use crate::spec::{JobSpec, LOG_CEILING_DEFAULT};
use crate::sys::{Inherited, Spawner};
use crate::timeline::Timeline;

/// Descriptors that a launcher needs for itself.
const OWN_DESCRIPTORS: u64 = 64;

/// And beside those for each rank: before it is started the two ends of its PMI connection, until the bridge has been
/// forked, and then one; afterwards its two streams.
const RANK_DESCRIPTORS: u64 = 2;

/// Runs a job to its end and returns the launcher's exit code: 0, or the code of the rank that failed first
/// (128 + signal if it was killed by one), or 128 + signal after a signal to the launcher.
///
/// The calling process must have one thread, and no children of its own: all children are taken for the job's.
///
/// # Errors
/// Whatever keeps the first rank from being started. Nothing is left running then.
pub fn run(spec: &JobSpec) -> Result<i32, Error> {
    let mut timeline = Timeline::begin();
    let mut plan = Plan::make(spec)?;
    timeline.note("programs found");
    let mut keeper = Keeper::prepare(spec.size())?;
    let server = plan.start_server(spec, &mut keeper)?;
    timeline.note("server started");
    let (node, board_failure) =
        Node::host(&plan.key, &plan.contract.job, spec.size(), spec.log_ceiling);
    timeline.note("board made");
    let bridge = plan.start_bridge(spec).map_err(Error::system("start the PMI bridge"))?;
    timeline.note("bridge forked");
    let guardian =
        Guardian::start(plan.ranks.groups()).map_err(Error::system("fork the guardian"))?;
    timeline.note("guardian forked");

    let streams = (io::stdin(), io::stdout(), io::stderr());
    let size = spec.size() as usize;
    let merge = |fd| Output::new(fd, size, spec.labels).map_err(Error::system("merge the output"));
    let mut conductor = Conductor {
        input: Input::new(streams.0.as_fd(), Conductor::INPUT_TOKENS),
        output: merge(streams.1.as_fd())?,
        error: merge(streams.2.as_fd())?,
        names: plan.names(spec),
        group: plan.contract.job,
        verbose: spec.verbose,
        ranks: plan.ranks,
        guardian: Some(guardian),
        bridge,
        course: Conductor::beginning().map_err(Error::system("make an event loop"))?,
        timeline,
        server,
        node,
        keeper,
    };
    conductor.introduce(&plan.contract.server, board_failure.as_deref());
    conductor.run().map_err(Error::system("watch the job"))
}

/// What starting a process takes.
pub(crate) struct Keeper {
    pub(crate) signals: Signals,
    pub(crate) spawner: Spawner,
    pub(crate) inherited: Inherited,
}

impl Keeper {
    /// Changes this process to what a launcher must be: signals read from a descriptor, enough open files, the
    /// reaper of the job's orphans.
    fn prepare(size: u32) -> Result<Self, Error> {
        let open_files = raise_open_files(size)?;
        let signals = Signals::take().map_err(Error::system("take signals over"))?;
        prctl::set_child_subreaper(true).map_err(Error::system("become the reaper of orphans"))?;
        let inherited = Inherited { mask: signals.mask_before(), open_files };
        Ok(Keeper { signals, spawner: Spawner::new(), inherited })
    }
}

/// Raises the limit of open files as far as it goes; returns what it was.
fn raise_open_files(ranks: u32) -> Result<(u64, u64), Error> {
    let before = getrlimit(Resource::RLIMIT_NOFILE).map_err(Error::system("ask for limits"))?;
    let (soft, limit) = before;
    let needed = RANK_DESCRIPTORS * u64::from(ranks) + OWN_DESCRIPTORS;
    if limit < needed {
        return Err(Error::OpenFiles { ranks, needed, limit });
    }
    if soft < needed {
        setrlimit(Resource::RLIMIT_NOFILE, limit, limit)
            .map_err(Error::system("raise the limit of open files"))?;
    }
    Ok(before)
}

/// All that is known before anything is started.
struct Plan {
    key: Secret,
    contract: Contract,
    ranks: Ranks,
    sockets: Pair,
    address: SocketAddr,
    access: Access,
    server: PathBuf,
    null: OwnedFd,
    host: String,
}

impl Plan {
    fn make(spec: &JobSpec) -> Result<Self, Error> {
        let key = key::new_secret().map_err(Error::system("make the job's key"))?;
        let host = key::host_name();
        let installation =
            Installation::of_this_program().map_err(Error::system("find this program"))?;
        let server = installation.server()?;
        let sockets = server::bind(spec.bind, spec.ports.as_ref())?;
        let address = server::local_address(&sockets.udp)
            .map_err(Error::system("find the key-value server's address"))?;
        let access = match spec.pmi_port {
            true => Access::Port(listen().map_err(Error::system("listen for the ranks"))?),
            false => Access::Sockets,
        };
        let port = match &access {
            Access::Port(listener) => {
                let port = listener.local_addr().map_err(Error::system("find PMI_PORT"))?;
                Some(port.to_string())
            }
            Access::Sockets => None,
        };
        let contract = Contract {
            port,
            size: spec.size(),
            local_size: spec.size(),
            universe_size: spec.universe_size.unwrap_or_else(|| spec.size()),
            server: address.to_string(),
            job: key::job_name(spec.starter, &host),
            secret: key.to_hex(),
            log_ceiling: (spec.log_ceiling != LOG_CEILING_DEFAULT).then_some(spec.log_ceiling),
            presets: presets(spec, &installation),
        };
        let null = ranks::open_null().map_err(Error::system("open /dev/null"))?;
        let second = null.try_clone().map_err(Error::system("open /dev/null"))?;
        let ranks = Ranks::prepare(&spec.apps, &contract, second)?;
        Ok(Plan { key, contract, ranks, sockets, address, access, server, null, host })
    }

    fn start_server(&self, spec: &JobSpec, keeper: &mut Keeper) -> Result<Server, Error> {
        let nodes = vec![0; spec.size() as usize];
        let order = Order {
            program: &self.server,
            job: &self.contract.job,
            size: Some(spec.size()),
            groups: &[],
            secret: &self.contract.secret,
            log_ceiling: spec.log_ceiling,
            puts: &[(PROCESS_MAPPING_KEY.to_owned(), format_mapping(&nodes))],
        };
        let sockets = self.sockets.try_clone().map_err(Error::system("share the sockets"))?;
        let null = self.null.try_clone().map_err(Error::system("share /dev/null"))?;
        Server::start(&order, sockets, null, &mut keeper.spawner, &keeper.inherited)
    }

    fn start_bridge(&mut self, spec: &JobSpec) -> io::Result<Bridge> {
        let Contract { size, local_size, universe_size, ref job, .. } = self.contract;
        let session = Config {
            rank: 0,
            size,
            job: job.clone(),
            secret: *self.key.as_bytes(),
            node: None,
            servers: vec![self.address],
            local_size: Some(local_size),
            // A value that is wrong is for the ranks to complain about.
            timeout: timeout(&|name| std::env::var(name).ok()).unwrap_or_default(),
            log_ceiling: spec.log_ceiling,
            share: true,
        };
        let appnums: Vec<u32> = (0..)
            .zip(&spec.apps)
            .flat_map(|(appnum, app)| std::iter::repeat_n(appnum, app.count as usize))
            .collect();
        let access = std::mem::replace(&mut self.access, Access::Sockets);
        Bridge::start(session, universe_size, &appnums, access)
    }

    fn names(&self, spec: &JobSpec) -> Names {
        let first_rank = |next: &mut u32, count: u32| {
            let first = *next;
            *next += count;
            Some(first)
        };
        Names {
            starter: spec.starter,
            host: self.host.clone(),
            programs: spec.apps.iter().map(|app| app.program.display().to_string()).collect(),
            first_ranks: spec.apps.iter().map(|app| app.count).scan(0, first_rank).collect(),
        }
    }
}

fn presets(spec: &JobSpec, installation: &Installation) -> Vec<(&'static str, std::ffi::OsString)> {
    let library = spec.presets.then(|| installation.library()).flatten();
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let job_number = since_epoch.as_micros() as u64;
    library.map_or(Vec::new(), |library| offer::presets(&library, job_number))
}
