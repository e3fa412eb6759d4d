//! `pmi-kvs-server`: the key-value server of one parallel job.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use pmi_kvs_server::args::Args;
use pmi_kvs_server::channel::Channel;
use pmi_kvs_server::inherit;
use pmi_kvs_server::serve::{Parts, Service};
use pmi_protocol::key::Secret;
use pmi_protocol::log::GroupSpec;
use pmi_protocol::server::Server;
use pmi_server_io::lifelines::Lifelines;
use pmi_server_io::memory::LogFile;
use pmi_server_io::udp::Udp;
use pmi_server_io::{memory, sockets};

fn main() -> ExitCode {
    let args = Args::parse();
    if args.man {
        let rendered = clap_mangen::Man::new(Args::command()).render(&mut io::stdout());
        return if rendered.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    start_tracing();
    raise_descriptor_limit();
    match serve(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("pmi-kvs-server: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Each node has a connection. Where the limit cannot be raised, the last nodes have none.
fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// `PMI_DEBUG` sends the server's log to standard error.
fn start_tracing() {
    let wanted =
        std::env::var_os("PMI_DEBUG").is_some_and(|value| !value.is_empty() && value != "0");
    let level = if wanted { tracing::Level::DEBUG } else { tracing::Level::WARN };
    tracing_subscriber::fmt().with_writer(io::stderr).with_max_level(level).with_ansi(false).init();
}

fn serve(args: Args) -> io::Result<bool> {
    let (sockets, listeners) = open_sockets(&args)?;
    let addresses = reachable(&sockets)?;
    let logs = LogFile::open(match args.log_fd {
        Some(fd) => inherit::take(fd)?,
        None => memory::create()?,
    })?;
    let channel = match args.control_fd {
        Some(fd) => Channel::launcher(inherit::take(fd)?),
        None => Channel::StandardOutput,
    };
    let secret = secret()?;
    let (job, size) = (args.job.clone().unwrap_or_default(), args.size);
    let env_file =
        args.env_file.clone().map(|path| EnvFile::write(path, &job, size, &secret, &addresses));
    let _env_file = env_file.transpose()?;
    let mut server = Server::new(&secret, logs.incarnation());
    let lifelines = Lifelines::new(listeners, &mut server)?;
    let ceiling = args.log_ceiling;
    let signals = catch_signals()?;
    let parts =
        Parts { server, logs, udp: Udp::new(sockets), lifelines, channel, signals, ceiling };
    let mut service = Service::new(parts)?;
    match size {
        Some(size) => service.add_group(GroupSpec { name: job, size, ceiling }, &args.put)?,
        None => service.expect_group(&job)?,
    }
    args.group.iter().try_for_each(|group| service.expect_group(group))?;
    service.run(addresses)
}

/// The sockets, and the listeners where there are some.
type Sockets = (Vec<UdpSocket>, Vec<TcpListener>);

fn open_sockets(args: &Args) -> io::Result<Sockets> {
    if !args.socket_fd.is_empty() {
        return inherited_sockets(args);
    }
    let ports = args.port_range.clone().unwrap_or(0..=0);
    let pairs = match args.bind.as_slice() {
        [] => vec![sockets::bind_any(&ports)?],
        addresses => {
            let bound = addresses.iter().map(|address| bind(*address, &ports));
            bound.collect::<io::Result<_>>()?
        }
    };
    let (udp, tcp): (Vec<_>, Vec<_>) = pairs.into_iter().map(|p| (p.udp, p.listener)).unzip();
    Ok((udp, tcp.into_iter().flatten().collect()))
}

fn inherited_sockets(args: &Args) -> io::Result<Sockets> {
    let udp = args.socket_fd.iter().map(|fd| sockets::adopt(inherit::take(*fd)?));
    let udp = udp.collect::<io::Result<_>>()?;
    let tcp = args.listen_fd.iter().map(|fd| sockets::adopt_listener(inherit::take(*fd)?));
    Ok((udp, tcp.collect::<io::Result<_>>()?))
}

fn bind(address: std::net::IpAddr, ports: &sockets::PortRange) -> io::Result<sockets::Pair> {
    sockets::bind_pair(address, ports).map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrNotAvailable => "; choose an address of this host",
            _ => "",
        };
        io::Error::new(error.kind(), format!("cannot bind to {address}: {error}{advice}"))
    })
}

fn reachable(sockets: &[UdpSocket]) -> io::Result<Vec<String>> {
    let addresses = sockets.iter().map(sockets::reachable).collect::<io::Result<Vec<_>>>()?;
    Ok(addresses.concat().iter().map(SocketAddr::to_string).collect())
}

/// The job's key from the environment, or a new one.
fn secret() -> io::Result<Secret> {
    match std::env::var("PMI_KVS_SECRET") {
        Ok(text) => Secret::from_hex(&text).ok_or_else(|| {
            io::Error::other(
                "PMI_KVS_SECRET must have 64 hex digits; unset it to have a new key made",
            )
        }),
        Err(_) => {
            let mut bytes = [0; 32];
            io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
            Ok(Secret::new(bytes))
        }
    }
}

fn catch_signals() -> io::Result<SignalFd> {
    let set = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// The file with the environment of the ranks; removed with this value.
struct EnvFile(PathBuf);

impl EnvFile {
    fn write(
        path: PathBuf,
        job: &str,
        size: Option<u32>,
        secret: &Secret,
        addresses: &[String],
    ) -> io::Result<Self> {
        let mut file = create(&path)?;
        let file_of = EnvFile(path);
        let (addresses, secret) = (addresses.join(","), secret.to_hex());
        let size = size.map_or(String::new(), |size| format!("PMI_SIZE={size} "));
        writeln!(file, "export {size}PMI_KVS_JOB={job}")?;
        writeln!(file, "export PMI_KVS_SERVER={addresses} PMI_KVS_SECRET={secret}")?;
        Ok(file_of)
    }
}

fn create(path: &Path) -> io::Result<std::fs::File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot create {}: {error}; name a new file", path.display()),
        )
    })
}

impl Drop for EnvFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
