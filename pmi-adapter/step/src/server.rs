//! The step's server: the job's key-value server, and the answers to those who look for it, in one process on node 0.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pmi_protocol::datagram::Outbox;
use pmi_protocol::exchange::abort_reason;
use pmi_protocol::key::Secret;
use pmi_protocol::log::GroupSpec;
use pmi_protocol::pace::Micros;
use pmi_protocol::ranks::RankRanges;
use pmi_protocol::server::{Event, Server};
use pmi_server_io::lifelines::Lifelines;
use pmi_server_io::memory::{self, LogFile, Region};
use pmi_server_io::sockets::{self, Pair};
use pmi_server_io::udp::{Client, Udp};

use crate::helper::no_munge;
use crate::layout;
use crate::life::Life;
use crate::message::{self, MAGIC, MacKey, Message, Promise, State, Tag};
use crate::munge::Munge;
use crate::ports;
use crate::step::{Step, StepKey};

/// How long it stays after the job has failed, at least: helpers ask once a second how the job stands.
const LINGER_FAILED: Duration = Duration::from_secs(4);

/// How long it stays when the step has ended on its node: nodes repeat for so long that their ranks have left.
const LINGER: Duration = Duration::from_secs(1);

/// Between two looks at a process that the kernel does not watch for us.
const LOOK: Duration = Duration::from_secs(1);

/// A credential lives for 300 s (munge(7)); from this age on, who asks gets a new one.
const FRESH: Duration = Duration::from_secs(100);

/// After munged has made none. Where it hangs, its library waits for 10 s (seen with 0.5.15).
const RETRY: Duration = Duration::from_secs(60);

const _: () = assert!(FRESH.as_secs() + 2 * RETRY.as_secs() < 300, "two failures do no harm");

/// Batches taken from the socket before anything else gets its turn.
const BATCHES_MAX: usize = 16;

/// A server that has not begun: everything that can fail has been done.
pub struct Prepared {
    sockets: Pair,
    step: StepKey,
    promise: Promise,
    munge: Munge,
    credential: Credential,
    spec: GroupSpec,
    nodes: u32,
}

impl Prepared {
    /// Binds one of the step's ports and makes the first credential.
    ///
    /// # Errors
    /// All ports are taken, or MUNGE makes no credential. The text says what to do.
    pub fn new(
        step: &Step,
        munge: Munge,
        secret: [u8; 32],
        size: u32,
        ceiling: u64,
    ) -> Result<Prepared, String> {
        let range = step.ports.clone().unwrap_or(ports::DEFAULT);
        let sockets = bind(&step.key(), &range)?;
        let port = sockets.udp.local_addr().map_err(|error| error.to_string())?.port();
        let promise = Promise { port, secret };
        let credential = encode(&munge, &promise, &step.key())?;
        let spec = GroupSpec { name: step.job_name(), size, ceiling };
        Ok(Prepared {
            sockets,
            step: step.key(),
            promise,
            munge,
            credential: Credential { bytes: credential, due: Instant::now() + FRESH },
            spec,
            nodes: step.nodes,
        })
    }

    /// Where it will answer on its own host.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.promise.port))
    }

    /// The descriptors that its process must keep.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let listener = self.sockets.listener.iter().map(AsRawFd::as_raw_fd);
        std::iter::once(self.sockets.udp.as_raw_fd()).chain(listener).collect()
    }

    /// Serves until the job and the step on this node have ended. `anchor` lives as long as the latter; what the user
    /// should read goes to the standard error of `rank`, a process.
    pub fn serve(self, anchor: u32, rank: Option<u32>) {
        // Nobody is left to be told; the helpers notice that the server is gone.
        let _ = Service::new(self, anchor, rank).and_then(|mut service| service.run());
    }
}

fn bind(key: &StepKey, range: &std::ops::RangeInclusive<u16>) -> Result<Pair, String> {
    let mut problem = String::new();
    for port in ports::candidates(key, range) {
        match sockets::bind_any(&(port..=port)) {
            Ok(sockets) => return Ok(sockets),
            Err(error) => problem = error.to_string(),
        }
    }
    Err(format!(
        "none of the UDP ports on which the other nodes would look for the server of this step can be had ({problem}): \
         set PMI_STEP_PORTS=LOW-HIGH to other ports for all tasks, or start the program with pmi-srun"
    ))
}

fn encode(munge: &Munge, promise: &Promise, step: &StepKey) -> Result<Vec<u8>, String> {
    let uid = nix::unistd::geteuid().as_raw();
    let credential =
        munge.encode(&promise.payload(step), uid).map_err(|trouble| no_munge(&trouble))?;
    match credential.len() {
        length if length > message::CREDENTIAL_MAX => {
            Err(format!("MUNGE has made a credential of {length} bytes, which is too long"))
        }
        _ => Ok(credential),
    }
}

struct Service {
    server: Server<Region, Client>,
    udp: Udp,
    lifelines: Lifelines,
    outbox: Outbox<Client>,
    events: Vec<Event>,
    start: Instant,
    anchor: Option<Life>,
    /// Through whose standard error it speaks.
    rank: Option<Life>,
    state: State,
    failed_at: Option<Instant>,
    ends_at: Option<Instant>,
    /// Name of the job's own group. How that of the helpers ends is nobody's business.
    name: String,
    desk: Desk,
}

/// What it takes to answer those who look for the server.
struct Desk {
    tag: Tag,
    key: MacKey,
    step: StepKey,
    promise: Promise,
    munge: Munge,
    credential: Credential,
}

impl Desk {
    fn answer(&mut self, bytes: &[u8], state: &State) -> Option<Vec<u8>> {
        match message::parse(self.tag, Some(&self.key), bytes)? {
            Message::Ask => message::answer(self.tag, self.credential()),
            Message::Check(nonce) => Some(message::state(self.tag, &self.key, &nonce, state)),
            Message::Answer(_) | Message::State(..) => None,
        }
    }

    fn credential(&mut self) -> &[u8] {
        self.credential.current(|| encode(&self.munge, &self.promise, &self.step))
    }
}

/// What those hear who look for the server.
struct Credential {
    bytes: Vec<u8>,
    /// When to make the next.
    due: Instant,
}

impl Credential {
    /// If munged has gone meanwhile, the old one does as long as it lives. A munged that hangs holds everybody up for
    /// seconds, so it is not asked again soon, whoever asks us.
    fn current(&mut self, make: impl FnOnce() -> Result<Vec<u8>, String>) -> &[u8] {
        if self.due <= Instant::now() {
            match make() {
                Ok(new) => (self.bytes, self.due) = (new, Instant::now() + FRESH),
                Err(_) => self.due = Instant::now() + RETRY,
            }
        }
        &self.bytes
    }
}

impl Service {
    fn new(prepared: Prepared, anchor: u32, rank: Option<u32>) -> io::Result<Service> {
        let Prepared { sockets, step, promise, munge, credential, spec, nodes } = prepared;
        let mut logs = LogFile::open(memory::create()?)?;
        let mut server = Server::new(&Secret::new(promise.secret), logs.incarnation());
        let region = logs.add(spec.ceiling)?;
        let name = spec.name.clone();
        server.add_group(region, spec, &[]).map_err(io::Error::other)?;
        if nodes > 1 {
            let name = layout::group_of(&name);
            let spec = GroupSpec { name, size: nodes, ceiling: layout::CEILING };
            let region = logs.add(spec.ceiling)?;
            server.add_group(region, spec, &[]).map_err(io::Error::other)?;
        }
        let lifelines = Lifelines::new(sockets.listener.into_iter().collect(), &mut server)?;
        let (tag, key) = (Tag::of(&step), MacKey::derive(&promise.secret));
        Ok(Service {
            server,
            udp: Udp::new(vec![sockets.udp]),
            lifelines,
            outbox: Outbox::default(),
            events: Vec::new(),
            start: Instant::now(),
            anchor: Life::of(anchor),
            rank: rank.and_then(Life::of),
            state: State::Running,
            failed_at: None,
            ends_at: None,
            name,
            desk: Desk { tag, key, step, promise, munge, credential },
        })
    }

    fn run(&mut self) -> io::Result<()> {
        loop {
            self.look_at_step();
            if self.ends_at.is_some_and(|end| end <= Instant::now()) {
                return Ok(());
            }
            if self.wait()? {
                self.receive()?;
            }
            let now = self.now();
            // After the datagrams that claim them.
            self.lifelines.look(now, &mut self.server);
            self.server.tick(now, &mut self.outbox, &mut self.events);
            self.note_events();
            self.udp.send(&mut self.outbox);
        }
    }

    fn now(&self) -> Micros {
        self.start.elapsed().as_micros() as Micros
    }

    /// Once the step has ended on this node, the end is near: nothing of ours stays longer than the tasks.
    fn look_at_step(&mut self) {
        if self.anchor.as_ref().is_none_or(Life::is_gone) {
            self.anchor = None;
            let failed = self.failed_at.map(|at| at + LINGER_FAILED);
            let end = self.ends_at.unwrap_or_else(|| Instant::now() + LINGER);
            self.ends_at = Some(failed.map_or(end, |failed| end.max(failed)));
        }
    }

    /// Waits for something to do; true if datagrams have come.
    fn wait(&self) -> io::Result<bool> {
        let anchor = self.anchor.as_ref().and_then(Life::fd);
        let fds = [Some(self.udp.sockets()[0].as_fd()), Some(self.lifelines.fd()), anchor];
        let mut fds: Vec<_> =
            fds.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut fds, self.patience()) {
            Ok(_) => Ok(fds[0].any().unwrap_or(true)),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn patience(&self) -> PollTimeout {
        let now = Instant::now();
        let unwatched = self.anchor.as_ref().is_some_and(|anchor| anchor.fd().is_none());
        let end = self.ends_at.map(|end| end.saturating_duration_since(now));
        let due =
            self.server.due().map(|due| Duration::from_micros(due.saturating_sub(self.now())));
        let look = self.lifelines.due().map(|due| due.saturating_duration_since(now));
        let first = [end, due, look, unwatched.then_some(LOOK)].into_iter().flatten().min();
        first.map_or(PollTimeout::NONE, |wait| {
            let millis = (wait + Duration::from_micros(999)).as_millis();
            PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
        })
    }

    fn receive(&mut self) -> io::Result<()> {
        let now = self.now();
        for _ in 0..BATCHES_MAX {
            let Service { server, udp, outbox, events, desk, state, .. } = self;
            let mut answers = Vec::new();
            let more = udp.receive(0, |from, bytes| match bytes.starts_with(&MAGIC) {
                true => answers.extend(desk.answer(bytes, state).map(|answer| (from, answer))),
                false => server.handle(now, from, bytes, outbox, events),
            })?;
            self.note_events();
            self.udp.send(&mut self.outbox);
            for (to, answer) in answers {
                // What does not get through is asked for again.
                let _ = self.udp.sockets()[0].send_to(&answer, to.address());
            }
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn say(&self, text: &str) {
        if let Some(rank) = self.rank.as_ref().filter(|rank| !rank.is_gone()) {
            rank.say(&format!("pmi: {text}\n"));
        }
    }

    fn note_events(&mut self) {
        for event in std::mem::take(&mut self.events) {
            let state = match event {
                Event::Finalized { group } if group == self.name => State::Finished,
                Event::Abort { group, rank, host, code, text } if group == self.name => {
                    let text = abort_reason(rank, host.as_deref(), code, &text);
                    State::Over { code, rank: Some(rank), text }
                }
                Event::Fault { group, rank, text, .. } if group == self.name => {
                    State::Over { code: 1, rank, text }
                }
                Event::Stalled { group, barrier, waited, missing, hosts } if group == self.name => {
                    self.say(&stall_text(barrier, waited, &missing, &hosts));
                    continue;
                }
                Event::Lost { group, text } if group == self.name => {
                    self.say(&text);
                    continue;
                }
                _ => continue,
            };
            if self.state == State::Running {
                if matches!(state, State::Over { .. }) {
                    self.failed_at = Some(Instant::now());
                }
                self.state = state;
            }
        }
    }
}

/// As pmi-ssh and pmi-srun say it.
fn stall_text(barrier: u32, waited: Micros, missing: &RankRanges, hosts: &[String]) -> String {
    let (at, what) = match hosts {
        [] => (String::new(), "joined yet, or not called PMI_Barrier"),
        hosts => (format!(" (on {})", hosts.join(", ")), "called PMI_Barrier yet"),
    };
    let seconds = waited / 1_000_000;
    format!(
        "barrier {barrier} has been waiting for {seconds} s for ranks {missing}{at}; they have not {what}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn munged_is_not_asked_again_soon_after_it_has_failed() {
        let mut credential = Credential { bytes: b"old".to_vec(), due: Instant::now() };
        let mut asked = 0;
        for _ in 0..3 {
            let told = credential.current(|| {
                asked += 1;
                Err("munged does not answer".to_owned())
            });
            assert_eq!(told, b"old");
        }
        assert_eq!(asked, 1);
        credential.due = Instant::now();
        assert_eq!(credential.current(|| Ok(b"new".to_vec())), b"new");
        assert_eq!(credential.current(|| Ok(b"newer".to_vec())), b"new", "it is fresh");
    }
}
