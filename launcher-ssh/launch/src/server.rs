//! Starting the key-value server of a job, and starting it again when it has crashed.
//!
//! Its sockets and its log memory are ours; a server that takes over finds both as they were, and no rank
//! notices more than a retransmission.

use std::collections::VecDeque;
use std::ffi::{CString, OsString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};
use std::{io, net};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pmi_kvs_server::control::{Command, Event};
use pmi_server_io::sockets::Pair;
use pmi_server_io::{memory, sockets};

use crate::endpoint::Endpoint;
use crate::environment::is_foreign;
use crate::error::Error;
use crate::report;
use crate::sys::{CArray, Child, Exit, Group, Inherited, SpawnError, Spawner};

/// More crashes than this within [`CRASH_WINDOW`] are not bad luck but a fault that will come again.
const CRASHES_MAX: usize = 5;

/// See [`CRASHES_MAX`].
const CRASH_WINDOW: Duration = Duration::from_secs(10);

/// What a server is told when it starts.
pub struct Order<'a> {
    /// Its program.
    pub program: &'a Path,
    /// The job's name.
    pub job: &'a str,
    /// The job's size; `None`: its first rank tells it.
    pub size: Option<u32>,
    /// Further groups, of the size that their first rank tells.
    pub groups: &'a [String],
    /// The job's key: 64 hex digits.
    pub secret: &'a str,
    /// Ceiling of the log in bytes.
    pub log_ceiling: u64,
    /// Pairs that every rank sees from the start.
    pub puts: &'a [(String, String)],
}

/// What became of a server that has ended.
pub enum Loss {
    /// Another one has taken over; a line that says so.
    Replaced(String),
    /// The job cannot go on; why.
    Final(String),
}

/// A job's server.
pub struct Server {
    path: Rc<CString>,
    /// All arguments but the control channel, which differs from start to start.
    args: Vec<CString>,
    envp: Rc<CArray>,
    sockets: Pair,
    log: OwnedFd,
    null: OwnedFd,
    process: Option<(Pid, Endpoint)>,
    was_ready: bool,
    hung_up: bool,
    crashes: VecDeque<Instant>,
    /// What a server that takes over has to be told again.
    history: Vec<Command>,
}

/// Binds the server's sockets to the first free of these ports.
pub fn bind(address: IpAddr, ports: Option<&RangeInclusive<u16>>) -> Result<Pair, Error> {
    let ports = ports.cloned().unwrap_or(0..=0);
    let described = match (*ports.start(), *ports.end()) {
        (0, 0) => address.to_string(),
        (low, high) => format!("{address}, UDP ports {low}-{high}"),
    };
    sockets::bind_pair(address, &ports)
        .map_err(|reason| Error::Bind { address: described, reason: reason.kind().into() })
}

/// Where ranks on this host reach a socket: one that is bound to every address is reached over loopback.
pub fn local_address(socket: &UdpSocket) -> io::Result<SocketAddr> {
    let mut address = socket.local_addr()?;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            net::SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            net::SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(address)
}

impl Server {
    /// Starts a server on `sockets`.
    pub fn start(
        order: &Order,
        sockets: Pair,
        null: OwnedFd,
        spawner: &mut Spawner,
        inherited: &Inherited,
    ) -> Result<Self, Error> {
        let log = memory::create().map_err(Error::system("make the memory of the log"))?;
        let mut server = Server {
            path: Rc::new(c_string(
                "path of the server",
                order.program.as_os_str().as_bytes().to_vec(),
            )?),
            args: arguments(order, &sockets, &log)?,
            envp: Rc::new(environment(order.secret)?),
            sockets,
            log,
            null,
            process: None,
            was_ready: false,
            hung_up: false,
            crashes: VecDeque::new(),
            history: Vec::new(),
        };
        server.launch(spawner, inherited).map_err(Error::system("start pmi-kvs-server"))?;
        Ok(server)
    }

    fn launch(&mut self, spawner: &mut Spawner, inherited: &Inherited) -> io::Result<()> {
        let (ours, theirs) = UnixStream::pair()?;
        let stderr = io::stderr();
        let number = CString::new(theirs.as_raw_fd().to_string())?;
        let argv = self.args.iter().cloned().chain([c"--control-fd".to_owned(), number]);
        let child = Child {
            path: self.path.clone(),
            argv: Rc::new(CArray::new(argv.collect())),
            shell_argv: None,
            envp: CArray::replacing_first(Vec::new(), &self.envp),
            wdir: None,
            group: Group::Session,
            slot: None,
            inherited: *inherited,
        };
        let stdio = [self.null.as_fd(), self.null.as_fd(), stderr.as_fd()];
        let mut keep = vec![self.sockets.udp.as_fd(), self.log.as_fd(), theirs.as_fd()];
        keep.extend(self.sockets.listener.as_ref().map(AsFd::as_fd));
        let pid =
            spawner.spawn(child, stdio, &keep).map_err(|error| io::Error::from(error.errno))?;
        let mut endpoint = Endpoint::new(ours)?;
        self.history.iter().for_each(|command| endpoint.send(command));
        self.process = Some((pid, endpoint));
        self.hung_up = false;
        Ok(())
    }

    /// The running server's process.
    pub fn pid(&self) -> Option<Pid> {
        self.process.as_ref().map(|(pid, _)| *pid)
    }

    /// The control channel, to be watched.
    pub fn channel(&self) -> Option<BorrowedFd<'_>> {
        let process = self.process.as_ref().filter(|_| !self.hung_up);
        process.map(|(_, endpoint)| endpoint.as_fd())
    }

    /// Is there something that could not be sent yet?
    pub fn has_backlog(&self) -> bool {
        self.process.as_ref().is_some_and(|(_, endpoint)| endpoint.has_backlog())
    }

    /// Sends a command.
    pub fn send(&mut self, command: Command) {
        if let Some((_, endpoint)) = &mut self.process {
            endpoint.send(&command);
        }
        if let Command::Exited { .. } = command {
            self.history.push(command);
        }
    }

    /// Takes what the server says, and sends what waits. False when the channel has ended: its process has
    /// ended or will, and there is nothing more to watch.
    pub fn converse(&mut self) -> (Vec<Event>, bool) {
        let Some((_, endpoint)) = &mut self.process else { return (Vec::new(), false) };
        endpoint.flush();
        let (events, open) = endpoint.receive();
        self.was_ready |= events.iter().any(|event| matches!(event, Event::Ready { .. }));
        (events, open)
    }

    /// The server's process has ended though it is needed: starts another one, unless that is hopeless.
    pub fn replace(
        &mut self,
        exit: Exit,
        never_began: Option<SpawnError>,
        now: Instant,
        spawner: &mut Spawner,
        inherited: &Inherited,
    ) -> Loss {
        let pid = self.process.take().map_or(0, |(pid, _)| pid.as_raw());
        if let Some(error) = never_began {
            let path = self.path.to_string_lossy();
            return Loss::Final(format!("'{path}' {}", report::spawn_text(error, "").0));
        }
        let how = format!("pmi-kvs-server (pid {pid}) {}", report::exit_text(exit));
        self.crashes.push_back(now);
        self.crashes.retain(|crash| now - *crash < CRASH_WINDOW);
        if !self.was_ready && matches!(exit, Exit::Code(_)) {
            return Loss::Final(format!("{how} before it was ready; it says why above"));
        }
        if self.crashes.len() > CRASHES_MAX {
            let window = CRASH_WINDOW.as_secs();
            return Loss::Final(format!(
                "{how}, for the {CRASHES_MAX}th time within {window} s and once more"
            ));
        }
        match self.launch(spawner, inherited) {
            Ok(()) => Loss::Replaced(format!("{how}; another one takes over its socket and log")),
            Err(error) => Loss::Final(format!("{how}, and no other could be started: {error}")),
        }
    }

    /// All ranks have ended, and so shall the server, after its last words. One that has not begun to answer
    /// yet has none but its statistics: nobody can have joined.
    pub fn finish(&mut self, want_statistics: bool) {
        match self.was_ready || want_statistics {
            true => self.send(Command::Shutdown),
            false => self.kill(),
        }
    }

    /// The server's process has ended as it should.
    pub fn ended(&mut self) {
        self.process = None;
    }

    /// The channel has ended: there is nothing more to watch until another server has taken over.
    pub fn hang_up(&mut self) {
        self.hung_up = true;
    }

    /// Kills a server that does not end.
    pub fn kill(&self) {
        if let Some(pid) = self.pid() {
            // It may have ended meanwhile.
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

fn arguments(order: &Order, sockets: &Pair, log: &OwnedFd) -> Result<Vec<CString>, Error> {
    let mut args = vec!["pmi-kvs-server".to_owned()];
    let mut add = |name: &str, value: String| args.extend([name.to_owned(), value]);
    add("--job", order.job.to_owned());
    if let Some(size) = order.size {
        add("--size", size.to_string());
    }
    order.groups.iter().for_each(|group| add("--group", group.clone()));
    add("--socket-fd", sockets.udp.as_raw_fd().to_string());
    if let Some(listener) = &sockets.listener {
        add("--listen-fd", listener.as_raw_fd().to_string());
    }
    add("--log-fd", log.as_raw_fd().to_string());
    add("--log-ceiling", order.log_ceiling.to_string());
    order.puts.iter().for_each(|(key, value)| add("--put", format!("{key}={value}")));
    args.into_iter().map(|arg| c_string("argument of the server", arg.into_bytes())).collect()
}

fn environment(secret: &str) -> Result<CArray, Error> {
    let ours = std::env::vars_os().filter(|(name, _)| !is_foreign(name));
    let lines = ours.chain([(OsString::from("PMI_KVS_SECRET"), OsString::from(secret))]);
    let assignment = |(name, value): (OsString, OsString)| {
        let mut line = name.into_vec();
        line.push(b'=');
        line.extend_from_slice(value.as_bytes());
        c_string("environment variable", line)
    };
    Ok(CArray::new(lines.map(assignment).collect::<Result<_, _>>()?))
}

fn c_string(what: &str, bytes: Vec<u8>) -> Result<CString, Error> {
    CString::new(bytes).map_err(|_| Error::Nul(what.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_free_port_is_taken_and_a_full_range_is_named() {
        let taken = bind(Ipv4Addr::LOCALHOST.into(), None).unwrap().udp;
        let port = taken.local_addr().unwrap().port();
        let error = bind(Ipv4Addr::LOCALHOST.into(), Some(&(port..=port))).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("127.0.0.1, UDP ports {port}-{port}")), "{text}");
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn a_socket_on_every_address_is_reached_over_loopback() {
        let socket = bind(Ipv4Addr::UNSPECIFIED.into(), None).unwrap().udp;
        let address = local_address(&socket).unwrap();
        assert_eq!(address.ip(), IpAddr::from(Ipv4Addr::LOCALHOST));
        assert_eq!(address.port(), socket.local_addr().unwrap().port());
    }
}
