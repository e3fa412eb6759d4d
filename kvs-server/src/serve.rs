//! The server's loop: wait for datagrams, commands, deadlines and signals, and let the state machine act.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use pmi_protocol::datagram::Outbox;
use pmi_protocol::log::{GroupSpec, LogMemory, decode_group};
use pmi_protocol::pace::Micros;
use pmi_protocol::record::Record;
use pmi_protocol::server::{self, Server};

use crate::channel::Channel;
use crate::control::{Command, Event, Statistics};
use pmi_server_io::lifelines::Lifelines;
use pmi_server_io::memory::{LogFile, Region};
use pmi_server_io::udp::{Client, Udp};

/// How long a server without a launcher goes on after its job has failed: ranks that a busy host starts only now, or whose
/// node has missed the news, are told why, and need not find out by its silence.
const LINGER: Duration = Duration::from_secs(5);

/// Batches taken from one socket before the others get their turn.
const BATCHES_MAX: usize = 16;

/// A running server.
#[derive(Debug)]
pub struct Service {
    server: Server<Region, Client>,
    logs: LogFile,
    udp: Udp,
    lifelines: Lifelines,
    channel: Channel,
    signals: SignalFd,
    start: Instant,
    ceiling: u64,
    outbox: Outbox<Client>,
    events: Vec<server::Event>,
    /// The verdict, once there is one: `Some(true)` if the server may end well.
    done: Option<bool>,
    /// When to end after the job has failed, without a launcher.
    lingers_until: Option<Micros>,
    standalone: bool,
}

/// What the loop needs.
#[derive(Debug)]
pub struct Parts {
    /// The state machine, without groups.
    pub server: Server<Region, Client>,
    /// The log memory.
    pub logs: LogFile,
    /// The sockets.
    pub udp: Udp,
    /// The connections of nodes.
    pub lifelines: Lifelines,
    /// Where events go.
    pub channel: Channel,
    /// SIGINT and SIGTERM.
    pub signals: SignalFd,
    /// Ceiling of the logs of groups that the launcher adds.
    pub ceiling: u64,
}

impl Service {
    /// Puts the parts together and takes over the groups that an earlier incarnation left.
    pub fn new(parts: Parts) -> io::Result<Self> {
        let standalone = matches!(parts.channel, Channel::StandardOutput);
        let Parts { server, logs, udp, lifelines, channel, signals, ceiling } = parts;
        let mut service = Service {
            server,
            logs,
            udp,
            lifelines,
            channel,
            signals,
            start: Instant::now(),
            ceiling,
            outbox: Outbox::default(),
            events: Vec::new(),
            done: None,
            lingers_until: None,
            standalone,
        };
        service.recover()?;
        Ok(service)
    }

    fn recover(&mut self) -> io::Result<()> {
        for region in self.logs.existing()? {
            let spec = Record::parse(region.bytes()).and_then(|first| decode_group(&first));
            let spec = spec.ok_or_else(|| io::Error::other("the log memory is damaged"))?;
            tracing::info!(group = spec.name, "taken over from an earlier server");
            self.server.add_group(region, spec, &[]).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Adds a group, unless an earlier incarnation has left it.
    pub fn add_group(&mut self, spec: GroupSpec, puts: &[(String, String)]) -> io::Result<()> {
        if self.server.has_group(&spec.name) {
            return Ok(());
        }
        server::check(&spec, puts).map_err(io::Error::other)?;
        let region = self.logs.add(spec.ceiling)?;
        self.server.add_group(region, spec, puts).map_err(io::Error::other)
    }

    /// Expects a group whose size its first rank tells, unless an earlier incarnation has left it.
    pub fn expect_group(&mut self, name: &str) -> io::Result<()> {
        if self.server.has_group(name) {
            return Ok(());
        }
        let spec = GroupSpec { name: name.to_owned(), size: 1, ceiling: self.ceiling };
        server::check(&spec, &[]).map_err(io::Error::other)?;
        let region = self.logs.add(self.ceiling)?;
        self.server.expect_group(region, name, self.ceiling).map_err(io::Error::other)
    }

    /// Tells the launcher where the server answers, then serves until it is told to end. True if all is well.
    pub fn run(mut self, addresses: Vec<String>) -> io::Result<bool> {
        let incarnation = self.logs.incarnation();
        self.channel.send(&Event::Ready { addresses, incarnation })?;
        while self.done.is_none() {
            let ready = self.wait()?;
            self.receive(&ready)?;
            let now = self.now();
            self.server.tick(now, &mut self.outbox, &mut self.events);
            self.report_and_send()?;
            if self.lingers_until.is_some_and(|until| until <= now) {
                self.done = Some(false);
            }
        }
        let statistics = self.statistics();
        tracing::info!(?statistics, "end");
        // The launcher may be gone already; then nobody wants to know.
        let _ = self.channel.send(&Event::Statistics(statistics));
        Ok(self.done == Some(true) && self.lingers_until.is_none())
    }

    fn now(&self) -> Micros {
        self.start.elapsed().as_micros() as Micros
    }

    /// Waits for something to do. One flag each for the signals, the channel, the lifelines, and
    /// every socket.
    fn wait(&self) -> io::Result<Vec<bool>> {
        let channel = self.channel.fd().unwrap_or(self.signals.as_fd());
        let fds = [self.signals.as_fd(), channel, self.lifelines.fd()].into_iter();
        let fds = fds.chain(self.udp.sockets().iter().map(AsFd::as_fd));
        let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut fds, self.patience()) {
            Ok(_) | Err(Errno::EINTR) => {
                Ok(fds.iter().map(|fd| fd.any().unwrap_or(true)).collect())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn patience(&self) -> PollTimeout {
        let look = self.lifelines.due().map(|due| (due - self.start).as_micros() as Micros);
        let dues = [self.server.due(), self.lingers_until, look];
        let Some(due) = dues.into_iter().flatten().min() else { return PollTimeout::NONE };
        let millis = due.saturating_sub(self.now()).div_ceil(1000);
        PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
    }

    fn receive(&mut self, ready: &[bool]) -> io::Result<()> {
        for socket in 0..self.udp.sockets().len() {
            if ready[3 + socket] {
                self.receive_datagrams(socket)?;
            }
        }
        // After the datagrams that claim them.
        if ready[2] || self.lifelines.due().is_some_and(|due| due <= Instant::now()) {
            self.lifelines.look(self.now(), &mut self.server);
        }
        if ready[0] && self.signals.read_signal()?.is_some() {
            self.done = Some(true);
        }
        if ready[1] && self.channel.fd().is_some() {
            self.receive_commands()?;
        }
        Ok(())
    }

    fn receive_datagrams(&mut self, socket: usize) -> io::Result<()> {
        let now = self.now();
        for _ in 0..BATCHES_MAX {
            let Service { server, udp, outbox, events, .. } = self;
            let more =
                udp.receive(socket, |from, bytes| server.handle(now, from, bytes, outbox, events))?;
            self.report_and_send()?;
            if !more {
                break;
            }
        }
        Ok(())
    }

    /// The launcher hears first: what a node knows that the server has noted must survive the server's death.
    fn report_and_send(&mut self) -> io::Result<()> {
        self.report()?;
        self.udp.send(&mut self.outbox);
        Ok(())
    }

    fn receive_commands(&mut self) -> io::Result<()> {
        let Some(commands) = self.channel.receive()? else {
            tracing::info!("the launcher is gone");
            self.done = Some(true);
            return Ok(());
        };
        for command in commands {
            let result = command.and_then(|command| self.obey(command));
            if let Err(message) = result {
                self.channel.send(&Event::Error { message })?;
            }
        }
        Ok(())
    }

    fn obey(&mut self, command: Command) -> Result<(), String> {
        let now = self.now();
        let known = match command {
            Command::AddGroup { group, size, puts } => {
                let spec = GroupSpec { name: group, size, ceiling: self.ceiling };
                return self.add_group(spec, &puts).map_err(|error| error.to_string());
            }
            Command::Fail { ref group, rank, code, ref message } => {
                self.server.fail(now, group, rank, (code, message), &mut self.outbox)
            }
            Command::Exited { ref group, rank } => {
                self.server.exited(now, group, rank, &mut self.outbox, &mut self.events)
            }
            Command::Statistics => {
                let statistics = Event::Statistics(self.statistics());
                return self.channel.send(&statistics).map_err(|error| error.to_string());
            }
            Command::Shutdown => {
                self.done = Some(true);
                true
            }
        };
        if known { Ok(()) } else { Err(format!("there is no such group: {command:?}")) }
    }

    fn report(&mut self) -> io::Result<()> {
        for event in std::mem::take(&mut self.events) {
            let event = to_control(event);
            tracing::info!(?event);
            self.channel.send(&event)?;
            if self.standalone {
                self.end_standalone(&event);
            }
        }
        Ok(())
    }

    /// Without a launcher the server ends by itself when its job has.
    fn end_standalone(&mut self, event: &Event) {
        match event {
            Event::Finalized { .. } => self.done = self.done.or(Some(true)),
            Event::Abort { .. } | Event::Fault { .. } => {
                let until = self.now() + LINGER.as_micros() as Micros;
                self.lingers_until.get_or_insert(until);
            }
            _ => {}
        }
    }

    fn statistics(&self) -> Statistics {
        let counters = self.server.counters();
        Statistics {
            datagrams_in: counters.datagrams_in,
            bytes_in: counters.bytes_in,
            datagrams_out: self.udp.sent.0,
            bytes_out: self.udp.sent.1,
            dropped: counters.dropped,
            repeated: counters.repeated,
            barriers: counters.barriers,
            nodes: counters.nodes,
            log_bytes: self.server.log_bytes(),
        }
    }
}

fn to_control(event: server::Event) -> Event {
    use server::Event as E;
    match event {
        E::Abort { group, rank, host, code, text } => {
            Event::Abort { group, rank, host, code, message: text }
        }
        E::Fault { group, rank, unanswered, text } => {
            Event::Fault { group, rank, unanswered, message: text }
        }
        E::Lost { group, text } => Event::Lost { group, message: text },
        E::Refused { group, text } => Event::Refused { group, message: text },
        E::Stalled { group, barrier, waited, missing, hosts } => Event::Stalled {
            group,
            barrier,
            waited_seconds: waited / 1_000_000,
            missing: missing.to_string(),
            hosts,
        },
        E::Finalized { group } => Event::Finalized { group },
    }
}
