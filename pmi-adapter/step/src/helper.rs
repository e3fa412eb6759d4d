//! The helper of a node: finds the server (on node 0 it starts it), tells the ranks, and watches over them.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pmi_board::Failure;
use pmi_board::session::{Config, Ensemble};
use pmi_protocol::pace::Micros;

use crate::attendee::Attendee;
use crate::guest::{Job, PATIENCE};
use crate::layout::Layout;
use crate::life::Life;
use crate::local::{self, Reply};
use crate::mail::Mail;
use crate::message::{Promise, State, Tag};
use crate::munge::{Munge, Trouble};
use crate::ports;
use crate::seek::{Found, Seek};
use crate::server::Prepared;
use crate::sys;
use crate::watch::Watch;

/// From the end of the job to SIGTERM for ranks that have not noticed, and from there to SIGKILL: as under pmi-srun.
const GRACE: [(Duration, libc::c_int); 2] =
    [(Duration::from_secs(3), libc::SIGTERM), (Duration::from_secs(2), libc::SIGKILL)];

/// Between two looks at processes that the kernel does not watch for us.
const LOOK: Duration = Duration::from_secs(1);

/// What a helper begins with.
pub struct Plan {
    /// As the rank that starts it sees it.
    pub job: Job,
    /// Loaded by that rank.
    pub munge: Munge,
    /// Of node 0.
    pub addresses: Vec<IpAddr>,
    /// The process whose end is the end of the step on this node.
    pub anchor: u32,
    /// Where further ranks come; none if this helper is for one rank only.
    pub listener: Option<OwnedFd>,
    /// The connection with that rank, and its process id.
    pub first: (OwnedFd, u32),
}

/// What to do where there is no MUNGE.
pub fn no_munge(trouble: &Trouble) -> String {
    format!(
        "{trouble}. The ranks of a step under plain srun agree on their key through MUNGE: install libmunge.so.2 and run \
         munged on every node, or start the program with pmi-srun or pmi-ssh, which need neither"
    )
}

/// Lives as long as there are ranks, or may be.
pub fn run(plan: Plan) {
    if let Ok(mut helper) = Helper::new(plan) {
        while !helper.is_done() {
            if helper.turn().is_err() {
                break;
            }
        }
    }
}

/// How far the helper is.
enum Phase {
    /// Nobody has said yet which rank he is.
    Idle,
    /// It looks for the server, until then.
    Seeking(Box<Seek>, Instant),
    /// It knows the server.
    Serving(Box<Found>, Watch),
    /// There is no server, and why.
    Failed(String),
}

struct Helper {
    job: Job,
    munge: Munge,
    addresses: Vec<IpAddr>,
    tag: Tag,
    anchor: Option<Life>,
    anchor_pid: u32,
    listener: Option<OwnedFd>,
    guests: Vec<Attendee>,
    phase: Phase,
    mail: Mail,
    board: Option<Ensemble>,
    layout: Option<Layout>,
    /// Ranks that have ended and that nobody has been told of.
    lost: VecDeque<u32>,
    /// Why credentials could not be read.
    complaint: Option<String>,
    /// Why the job is over, since when, and the steps taken since.
    over: Option<(String, Instant, usize)>,
    serves: bool,
    start: Instant,
}

impl Helper {
    fn new(plan: Plan) -> io::Result<Helper> {
        let (socket, pid) = plan.first;
        let first = Attendee::new(socket, pid);
        Ok(Helper {
            tag: Tag::of(&plan.job.step.key()),
            job: plan.job,
            munge: plan.munge,
            addresses: plan.addresses,
            anchor: Life::of(plan.anchor),
            anchor_pid: plan.anchor,
            listener: plan.listener,
            guests: vec![first],
            phase: Phase::Idle,
            mail: Mail::open()?,
            board: None,
            layout: None,
            lost: VecDeque::new(),
            complaint: None,
            over: None,
            serves: false,
            start: Instant::now(),
        })
    }

    fn now(&self) -> Micros {
        self.start.elapsed().as_micros() as Micros
    }

    /// Ranks may come as long as the step goes on here; one that is still there is waited for.
    fn is_done(&self) -> bool {
        let more = self.listener.is_some() && self.anchor.as_ref().is_some_and(|a| !a.is_gone());
        self.guests.is_empty() && !more
    }

    fn turn(&mut self) -> io::Result<()> {
        self.wait()?;
        self.receive();
        self.welcome();
        self.hear_guests();
        self.act();
        self.reply();
        self.settle_layout();
        self.report_lost();
        self.end_guests();
        Ok(())
    }

    fn wait(&self) -> io::Result<()> {
        let mut fds: Vec<BorrowedFd<'_>> = vec![self.mail.socket.as_fd()];
        fds.extend(self.listener.as_ref().map(AsFd::as_fd));
        fds.extend(self.layout.as_ref().and_then(Layout::socket));
        // Whoever has left is watched for his end, and for nothing else.
        fds.extend(self.guests.iter().map(|guest| guest.socket.as_fd()));
        fds.extend(self.guests.iter().filter_map(|guest| guest.life.as_ref()?.fd()));
        if self.guests.is_empty() {
            fds.extend(self.anchor.as_ref().and_then(Life::fd));
        }
        let mut fds: Vec<_> =
            fds.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut fds, self.patience()) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn patience(&self) -> PollTimeout {
        let due = |due: Micros| Duration::from_micros(due.saturating_sub(self.now()));
        let phase = match &self.phase {
            Phase::Seeking(seek, until) => {
                Some(due(seek.due()).min(until.saturating_duration_since(Instant::now())))
            }
            Phase::Serving(_, watch) if self.is_watching() => Some(due(watch.due())),
            _ => None,
        };
        let step = self.next_step().map(|(at, _)| at.saturating_duration_since(Instant::now()));
        let blind = self.guests.iter().any(|guest| guest.life.as_ref().is_some_and(is_blind))
            || self.anchor.as_ref().is_some_and(is_blind);
        let layout = self.layout.as_ref().and_then(Layout::deadline);
        let layout = layout.map(|due| due.saturating_duration_since(Instant::now()));
        let wait = [phase, step, layout, blind.then_some(LOOK)].into_iter().flatten().min();
        wait.map_or(PollTimeout::NONE, |wait| {
            let millis = (wait + Duration::from_micros(999)).as_millis();
            PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
        })
    }

    /// Does it matter to anybody here how the job stands?
    fn is_watching(&self) -> bool {
        self.over.is_none() && self.guests.iter().any(|guest| guest.answered && !guest.left)
    }

    fn receive(&mut self) {
        let now = self.now();
        loop {
            match self.mail.receive() {
                Ok(Some((from, bytes))) => self.handle(now, from, &bytes),
                Ok(None) => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    if let Phase::Serving(_, watch) = &mut self.phase {
                        watch.refused(now);
                    }
                }
                Err(_) => return,
            }
        }
    }

    fn handle(&mut self, now: Micros, from: SocketAddr, bytes: &[u8]) {
        let found = match &mut self.phase {
            Phase::Seeking(seek, _) => {
                let (munge, job, complaint) = (&self.munge, &self.job, &mut self.complaint);
                let mut open = |credential: &[u8]| open(munge, job, credential, complaint);
                seek.handle(now, from, bytes, &mut open)
            }
            Phase::Serving(_, watch) => {
                let state = watch.handle(now, bytes);
                return self.note(state);
            }
            Phase::Idle | Phase::Failed(_) => None,
        };
        if let Some((found, state)) = found {
            self.found(found);
            self.note(Some(state));
        }
    }

    fn note(&mut self, state: Option<State>) {
        if let Some(State::Over { code, rank, text }) = state {
            self.open_board();
            self.fail_board(Failure { code, rank, text: text.clone() });
            self.over.get_or_insert((text, Instant::now(), 0));
        }
    }

    fn fail_board(&self, failure: Failure) {
        if let Some(board) = &self.board {
            board.board().fail(&failure);
        }
    }

    fn found(&mut self, found: Found) {
        let nonce = sys::random().unwrap_or_default();
        let watch = Watch::new(self.now(), self.tag, &found.secret, self.job.size, nonce);
        self.mail.connect(found.server);
        self.phase = Phase::Serving(Box::new(found), watch);
    }

    fn welcome(&mut self) {
        while let Some((socket, pid)) = self.listener.as_ref().and_then(local::accept) {
            self.guests.push(Attendee::new(socket, pid));
        }
    }

    fn hear_guests(&mut self) {
        let here: Vec<u32> = self.guests.iter_mut().filter_map(Attendee::listen).collect();
        let guests = std::mem::take(&mut self.guests);
        let (ended, staying) = guests.into_iter().partition::<Vec<_>, _>(|guest| guest.ended);
        self.guests = staying;
        for guest in ended.into_iter().filter(|guest| !guest.left) {
            self.lose(guest.rank);
        }
        here.into_iter().for_each(|local| self.begin(local));
    }

    /// A second library in the same process may have been turned away; the rank lives on.
    fn lose(&mut self, rank: Option<u32>) {
        let Some(rank) = rank else { return };
        if self.guests.iter().all(|guest| guest.rank != Some(rank)) {
            self.lost.push_back(rank);
        }
    }

    /// A rank has come. Whatever has failed before is tried again for it.
    fn begin(&mut self, local: u32) {
        if let Phase::Serving(_, watch) = &mut self.phase {
            let now = self.start.elapsed().as_micros() as Micros;
            return watch.resume(now);
        }
        let until = Instant::now() + self.job.timeout.unwrap_or(PATIENCE);
        if self.job.step.is_first_node() && local == 0 && !self.serves {
            match self.start_server() {
                Ok(found) => self.found(found),
                Err(text) => self.phase = Phase::Failed(text),
            }
        } else if let Phase::Seeking(_, limit) = &mut self.phase {
            *limit = until;
        } else {
            self.phase = match self.seek() {
                Ok(seek) => Phase::Seeking(Box::new(seek), until),
                Err(text) => Phase::Failed(text),
            };
        }
    }

    fn start_server(&mut self) -> Result<Found, String> {
        let Job { step, size, log_ceiling, .. } = &self.job;
        let secret = sys::random().map_err(|error| error.to_string())?;
        let prepared = Prepared::new(step, self.munge, secret, *size, *log_ceiling)?;
        let (server, keep, anchor) = (prepared.address(), prepared.descriptors(), self.anchor_pid);
        let rank = self.guests.iter().find_map(|guest| guest.life.as_ref().map(Life::pid));
        sys::fork_again(c"pmi-kvs-server", &keep, || prepared.serve(anchor, rank))
            .map_err(|error| format!("cannot start the server: {error}"))?;
        self.serves = true;
        Ok(Found { server, secret })
    }

    fn seek(&self) -> Result<Seek, String> {
        self.check_munge()?;
        let range = self.job.step.ports.clone().unwrap_or(ports::DEFAULT);
        let ports = ports::candidates(&self.job.step.key(), &range);
        let nonce = sys::random().map_err(|error| error.to_string())?;
        Ok(Seek::new(self.tag, self.addresses.clone(), ports, nonce))
    }

    fn check_munge(&self) -> Result<(), String> {
        let uid = nix::unistd::geteuid().as_raw();
        self.munge.encode(b"", uid).map(|_| ()).map_err(|trouble| no_munge(&trouble))
    }

    /// What time brings about.
    fn act(&mut self) {
        let now = self.now();
        let watching = self.is_watching();
        match &mut self.phase {
            Phase::Seeking(_, until) if *until <= Instant::now() => {
                self.phase = Phase::Failed(self.not_found());
            }
            Phase::Seeking(seek, _) => {
                let mut out = Vec::new();
                seek.poll(now, &mut out);
                out.iter().for_each(|(to, bytes)| self.mail.send(*to, bytes));
            }
            Phase::Serving(found, watch) if watching => {
                let server = found.server;
                let question = watch.poll(now);
                let gone = watch.is_gone(now);
                question.iter().for_each(|bytes| self.mail.send(server, bytes));
                gone.into_iter().for_each(|how| self.server_is_gone(how));
            }
            _ => {}
        }
    }

    fn not_found(&self) -> String {
        let host = &self.job.step.first_host;
        let waited = self.job.timeout.unwrap_or(PATIENCE).as_secs();
        let addresses: Vec<_> = self.addresses.iter().map(IpAddr::to_string).collect();
        let range = self.job.step.ports.clone().unwrap_or(ports::DEFAULT);
        let ports: Vec<_> = ports::candidates(&self.job.step.key(), &range)
            .iter()
            .map(|port| port.to_string())
            .collect();
        let complaint =
            self.complaint.as_deref().map_or(String::new(), |text| format!(" ({text})"));
        format!(
            "no server of this step was found on {host} ({}; UDP ports {}) within {waited} s{complaint}: task 0 of that \
             node has not called PMI_Init, a firewall is in between (choose ports with PMI_STEP_PORTS), or the name \
             leads to another address than Slurm's. pmi-srun needs none of this",
            addresses.join(", "),
            ports.join(" ")
        )
    }

    /// Ranks that do not need it any more go on: if it has ended with the tasks of its node, all others may be about to.
    fn server_is_gone(&mut self, how: &str) {
        let host = &self.job.step.first_host;
        let text = format!(
            "the PMI server of this step, on {host}, is gone ({how}): it was killed, or the tasks there have ended"
        );
        self.open_board();
        self.fail_board(Failure { code: 1, rank: None, text });
        // Nothing can be heard of the job any more; and nobody is to be ended for it.
        self.over = Some((String::new(), Instant::now(), GRACE.len()));
    }

    /// Tells those who wait where the server is, or that there is none. The board is mapped before: it must not end with a
    /// rank that is alone on its node.
    fn reply(&mut self) {
        let reply = match &self.phase {
            Phase::Serving(found, _) => Reply::Server(found.server, found.secret),
            Phase::Failed(text) => Reply::Failed(text.clone()),
            Phase::Idle | Phase::Seeking(..) => return,
        };
        self.open_board();
        let bytes = reply.to_bytes();
        let waiting = |guest: &&mut Attendee| guest.rank.is_some() && !guest.answered;
        for guest in self.guests.iter_mut().filter(waiting) {
            guest.answered = true;
            // Whom there was no server for is nobody's rank.
            guest.left = matches!(reply, Reply::Failed(_));
            local::tell(&guest.socket, &bytes);
        }
    }

    /// After the ranks have been told, so that none of them waits for it that does not ask.
    fn settle_layout(&mut self) {
        let Phase::Serving(found, _) = &self.phase else { return };
        let Found { server, secret } = **found;
        let layout = self.layout.get_or_insert_with(|| Layout::begin(&self.job, server, secret));
        layout.advance();
        let Some(mapping) = layout.mapping() else { return };
        let bytes = Reply::Mapping(mapping.to_owned()).to_bytes();
        for guest in self.guests.iter_mut().filter(|guest| guest.wants_mapping) {
            guest.wants_mapping = false;
            local::tell(&guest.socket, &bytes);
        }
    }

    fn open_board(&mut self) {
        let Phase::Serving(found, _) = &self.phase else { return };
        if self.board.is_some() {
            return;
        }
        let Job { step, rank, size, local_size, node_name, log_ceiling, .. } = &self.job;
        let config = Config {
            rank: *rank,
            size: *size,
            job: step.job_name(),
            secret: found.secret,
            node: node_name.clone(),
            servers: vec![found.server],
            local_size: *local_size,
            timeout: None,
            log_ceiling: *log_ceiling,
            share: true,
        };
        self.board = Ensemble::open(config).ok();
    }

    /// Ends the job because of a rank that cannot say so itself, unless it is over.
    fn report_lost(&mut self) {
        if !matches!(self.phase, Phase::Serving(..)) || self.over.is_some() {
            return;
        }
        while let (Some(rank), Some(board)) = (self.lost.pop_front(), &mut self.board) {
            let failure = board.board().failure();
            let text = match failure {
                Some(failure) => failure.text,
                None => {
                    let text = format!("rank {rank} died without PMI_Finalize");
                    board.fail(rank, &text);
                    text
                }
            };
            self.over.get_or_insert((text, Instant::now(), 0));
        }
    }

    fn next_step(&self) -> Option<(Instant, libc::c_int)> {
        let (_, since, taken) = self.over.as_ref()?;
        let wait = GRACE.get(..=*taken)?.iter().map(|(wait, _)| *wait).sum::<Duration>();
        Some((*since + wait, GRACE[*taken].1))
    }

    fn end_guests(&mut self) {
        let Some((_, signal)) = self.next_step().filter(|(at, _)| *at <= Instant::now()) else {
            return;
        };
        let Some((text, _, taken)) = &mut self.over else { return };
        for guest in self.guests.iter().filter(|guest| !guest.left) {
            let (Some(life), Some(rank)) = (&guest.life, guest.rank) else { continue };
            if *taken == 0 {
                life.say(&format!("pmi: rank {rank} is ended, for the job is over: {text}\n"));
            }
            life.signal(signal);
        }
        *taken += 1;
    }
}

fn is_blind(life: &Life) -> bool {
    life.fd().is_none()
}

/// Reads a server's credential. None, with the reason, if it is not one of this user and step.
fn open(
    munge: &Munge,
    job: &Job,
    credential: &[u8],
    complaint: &mut Option<String>,
) -> Option<Promise> {
    match munge.decode(credential) {
        Ok((payload, uid)) if uid == nix::unistd::geteuid().as_raw() => {
            Promise::parse(&job.step.key(), &payload)
        }
        Ok((_, uid)) => {
            *complaint = Some(format!("user {uid} has answered instead"));
            None
        }
        Err(trouble) => {
            *complaint = Some(trouble.to_string());
            None
        }
    }
}
