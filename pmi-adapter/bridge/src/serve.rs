//! The event loop of a bridge.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::SigSet;
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::{Pid, dup2_stderr};
use pmi_board::Wait;
use pmi_board::session::{Config, Ensemble, Error};

use crate::client::{Client, Heard, Sent};
use crate::desk::{ClientId, Desk, Late, Next, Visit, say};
use crate::door::Door;
use crate::ending::Ending;
use crate::idle::somebody_speaks;
use crate::layout::each_alone;
use crate::plan::{Boss, Notice, Plan, Way, Word};
use crate::poller::{Interest, Poller};
use crate::sys;
use crate::waiter::Waiter;

/// Numbers of the watched descriptors; connections come after them.
mod token {
    pub const SERVER: u64 = 0;
    pub const BOSS: u64 = 1;
    pub const DOOR: u64 = 2;
    pub const BARRIER: u64 = 3;
    pub const ATTRIBUTES: u64 = 4;
    pub const CLIENTS: u64 = 8;
}

/// How long the server may take to note that all ranks of this node have left.
const LEAVE: Duration = Duration::from_secs(1);

/// Between two looks at the delegate's health by the thread that waits for it.
const SLEEP: Duration = Duration::from_secs(1);

/// Between two looks at the health of the peers by those who wait for a node attribute.
const PATROL: Duration = Duration::from_millis(500);

/// How long requests that were looked at may stay in the sockets: long enough for thousands, and short enough for a
/// client that cannot write on because of them.
const HOLD: Duration = Duration::from_millis(50);

/// Runs a bridge in a process of its own until its boss has ended, and returns its exit code.
pub fn run(plan: Plan) -> i32 {
    settle();
    if let Boss::Launcher(_) = plan.boss {
        // A session of its own is also a scheduling group of its own, where the kernel makes those
        // (`CONFIG_SCHED_AUTOGROUP`, sched(7)): clients that are woken by an answer are to push the bridge aside
        // less often then. It fails for a process that leads a group, which this is not.
        let _ = nix::unistd::setsid();
    }
    let rank = plan.session.rank;
    code_of(rank, live(plan))
}

/// Runs a bridge whose program has spoken already, in a process of its own. `mapping` is who runs on which node, or why
/// nobody knows.
pub(crate) fn attend(plan: Plan, mapping: Result<String, String>) -> i32 {
    settle();
    if let Boss::Program { stderr_of: Some(program), .. } = plan.boss {
        adopt_stderr(program);
    }
    let rank = plan.session.rank;
    let opened = mapping.map_err(|reason| {
        io::Error::other(format!("cannot find out which ranks run on which node: {reason}"))
    });
    let opened = opened.and_then(|mapping| Bridge::open(plan, mapping));
    code_of(rank, opened.and_then(|mut bridge| bridge.live()))
}

/// Makes this a process that serves.
pub(crate) fn settle() {
    // Neither fails for a process that has just been forked. What ends the starter must not end the bridge: it
    // goes when the ranks have gone.
    let _ = SigSet::all().thread_set_mask();
    let _ = prctl::set_name(c"pmi-bridge");
    sys::prefer_batches();
}

fn code_of(rank: u32, result: io::Result<()>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            say(rank, &format_args!("the PMI service of this host has failed: {error}"));
            1
        }
    }
}

fn live(plan: Plan) -> io::Result<()> {
    // A program that never speaks has no need of us.
    let Some(ended) = somebody_speaks(&plan)? else { return Ok(()) };
    let mapping = plain_mapping(&plan.session);
    let mut bridge = Bridge::open(plan, mapping)?;
    bridge.ranks_ended(&ended);
    bridge.live()
}

/// All ranks on this node if that is known, else each on a node of its own, which is slower and never wrong.
pub(crate) fn plain_mapping(session: &Config) -> String {
    match session.local_size == Some(session.size) {
        true => format!("(vector,(0,1,{}))", session.size),
        false => each_alone(session.size),
    }
}

/// Makes the program's standard error ours. Before the program has begun we may not look into its process, which has
/// just changed its user; afterwards it is an error of nobody if we cannot, and what we would say is lost.
fn adopt_stderr(program: Pid) {
    let path = format!("/proc/{program}/fd/2");
    let mut options = File::options();
    // Nobody may be reading there: what it does not take at once is lost, too.
    options.append(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    if let Ok(stderr) = options.open(path) {
        let _ = dup2_stderr(stderr);
    }
}

fn notify(control: &OwnedFd, notice: &Notice) {
    // If the launcher is gone, so is the job.
    let _ = send(control.as_raw_fd(), &notice.to_bytes(), MsgFlags::MSG_NOSIGNAL);
}

struct Bridge {
    desk: Desk,
    poller: Poller,
    clients: Vec<Option<Client>>,
    free: Vec<ClientId>,
    /// The connection of each seat that has one from the start.
    own: Vec<Option<ClientId>>,
    door: Option<Door>,
    door_watched: bool,
    boss: Boss,
    ending: Ending,
    barrier: Waiter,
    attributes: Waiter,
    /// The error that was told last.
    told: String,
    /// When to look for dead peers of those who wait for a node attribute.
    patrol: Instant,
    /// When to let go of what clients have in their sockets, if they have anything.
    hold: Option<Instant>,
    over: bool,
}

impl Bridge {
    fn open(plan: Plan, mapping: String) -> io::Result<Bridge> {
        let size = plan.session.size;
        let ensemble = Ensemble::open(plan.session).map_err(io::Error::other)?;
        let mut desk = Desk::new(ensemble, &plan.seats, size, plan.universe_size, mapping);
        if let Boss::Launcher(control) = &plan.boss {
            let control = control.try_clone()?;
            desk.report_abort = Some(Box::new(move |rank, code, text| {
                notify(&control, &Notice::Abort { rank, code, text: text.to_owned() });
            }));
        }
        let mut bridge = Bridge {
            desk,
            poller: Poller::new()?,
            clients: Vec::new(),
            free: Vec::new(),
            own: Vec::new(),
            door: plan.listener.map(Door::new).transpose()?,
            door_watched: false,
            boss: plan.boss,
            ending: Ending::default(),
            barrier: Waiter::new()?,
            attributes: Waiter::new()?,
            told: String::new(),
            patrol: Instant::now(),
            hold: None,
            over: false,
        };
        bridge.watch_all()?;
        for (seat, about) in plan.seats.into_iter().enumerate() {
            let client = match about.way {
                Way::Socket(socket) => Some(bridge.attach(socket, Some(seat))?),
                Way::Id(_) => None,
            };
            bridge.own.push(client);
        }
        Ok(bridge)
    }

    fn watch_all(&mut self) -> io::Result<()> {
        self.poller.add(&self.boss, token::BOSS, Interest::Read)?;
        self.poller.add(self.desk.ensemble().socket(), token::SERVER, Interest::Read)?;
        self.poller.add(&self.barrier, token::BARRIER, Interest::Read)?;
        self.poller.add(&self.attributes, token::ATTRIBUTES, Interest::Read)
    }

    fn live(&mut self) -> io::Result<()> {
        let mut ready = Vec::new();
        while !self.over {
            self.mind_the_door()?;
            let deadline = self.deadline();
            self.poller.wait(deadline, &mut ready)?;
            let mut stirred = deadline.is_some_and(|due| due <= Instant::now());
            for token in &ready {
                stirred |= *token < token::CLIENTS;
                self.handle(*token)?;
            }
            // Gets and puts move nothing, and are most of all requests.
            if stirred | self.desk.take_stirred() {
                self.expire();
                self.advance();
            }
        }
        Ok(())
    }

    fn handle(&mut self, token: u64) -> io::Result<()> {
        match token {
            token::SERVER => {}
            token::BOSS => self.hear_boss(),
            token::DOOR => self.open_door()?,
            token::BARRIER => self.barrier.woken(),
            token::ATTRIBUTES => {
                self.attributes.woken();
                self.desk.look_at_attributes();
            }
            client => self.on_client((client - token::CLIENTS) as ClientId)?,
        }
        Ok(())
    }

    fn deadline(&mut self) -> Option<Instant> {
        let door = self.door.as_ref().and_then(Door::deadline);
        let ensemble = self.desk.ensemble().deadline();
        let patrol = self.desk.waits_for_attributes().then_some(self.patrol);
        [door, ensemble, patrol, self.hold, self.ending.deadline()].into_iter().flatten().min()
    }

    fn expire(&mut self) {
        if let Boss::Program { pidfd, .. } = &self.boss {
            self.ending.step(pidfd.as_fd());
        }
        let now = Instant::now();
        if self.desk.waits_for_attributes() && self.patrol <= now {
            self.patrol = now + PATROL;
            self.desk.give_up_attributes();
        }
        if self.hold.is_some_and(|due| due <= now) {
            self.hold = None;
            self.clients.iter_mut().flatten().for_each(Client::let_go);
        }
        let overdue = self.door.as_ref().map(Door::overdue).unwrap_or_default();
        overdue.into_iter().for_each(|client| self.close(client));
    }

    /// Lets the job go on, and tells those who waited for it.
    fn advance(&mut self) {
        loop {
            let (late, error) = self.desk.advance();
            if late.is_empty() && error.is_none() {
                break;
            }
            late.into_iter().for_each(|late| self.tell(&late));
            if let Some(error) = error {
                self.on_error(&error);
                break;
            }
        }
        if self.desk.take_last_left() {
            // A launcher knows, and shuts the server down; without one, the server ends when all have left.
            let patience = match self.boss {
                Boss::Launcher(_) => Duration::ZERO,
                Boss::Program { .. } => LEAVE,
            };
            self.desk.ensemble().leave(patience);
        }
        self.start_sleeping();
    }

    fn tell(&mut self, Late { client, ticket, answer }: &Late) {
        if let Some(slot) = self.clients.get_mut(*client).and_then(Option::as_mut) {
            self.desk.write(&mut slot.out, *ticket, answer);
            self.flush(*client);
        }
    }

    /// Those who waited know. A program that does not end by itself is ended here, if nobody else will do it.
    fn on_error(&mut self, error: &Error) {
        let over = matches!(error, Error::Over(_));
        let launched = matches!(self.boss, Boss::Launcher(_));
        // Of the job's end a launcher tells the user itself.
        let text = error.to_string();
        if !(over && launched) && self.desk.has_members() && self.told != text {
            say(self.desk.rank(0), error);
            self.told = text;
        }
        if over && !launched {
            self.ending.begin();
        }
    }

    /// What a descriptor does not tell is waited for by a thread.
    fn start_sleeping(&mut self) {
        let board = self.desk.ensemble().board();
        if let Some(epoch) = self.desk.ensemble().waits_for() {
            self.barrier.sleep(move || while board.wait_opened(epoch, SLEEP) == Wait::TimedOut {});
        }
        let alone = matches!(self.boss, Boss::Program { .. }) && self.desk.has_members();
        if alone || self.desk.waits_for_attributes() {
            let seen = board.attributes_turn();
            // What was put before this look is found now; what comes after it, and the job's failure, wakes the thread.
            self.desk.look_at_attributes();
            self.attributes.sleep(move || {
                board.wait_attributes(seen, Duration::MAX);
            });
        }
    }

    fn attach(&mut self, socket: OwnedFd, seat: Option<usize>) -> io::Result<ClientId> {
        let client = self.free.pop().unwrap_or(self.clients.len());
        let new = Client::new(socket, seat);
        self.poller.add(&new, token::CLIENTS + client as u64, new.interest())?;
        let new = Some(new);
        match self.clients.get_mut(client) {
            Some(slot) => *slot = new,
            None => self.clients.push(new),
        }
        Ok(client)
    }

    fn on_client(&mut self, client: ClientId) -> io::Result<()> {
        let Some(slot) = self.clients.get_mut(client).and_then(Option::as_mut) else {
            return Ok(());
        };
        if slot.blocked {
            self.flush(client);
            return Ok(());
        }
        match slot.read() {
            Heard::Nothing => {}
            Heard::End => self.close(client),
            Heard::Something => self.answer(client),
        }
        // Others come first; to watch for it anew brings what is left to notice.
        match self.clients[client].as_ref().filter(|slot| slot.has_more()) {
            Some(slot) => self.poller.modify(slot, token::CLIENTS + client as u64, slot.interest()),
            None => Ok(()),
        }
    }

    /// Answers all requests that have come in whole.
    fn answer(&mut self, client: ClientId) {
        let Some(mut slot) = self.clients[client].take() else { return };
        let next = self.answer_all(client, &mut slot);
        if let Some(seat) = slot.seat {
            self.own[seat] = Some(client);
        }
        if slot.connection.is_amid() {
            slot.let_go();
        }
        if slot.holds() {
            self.hold.get_or_insert_with(|| Instant::now() + HOLD);
        }
        let stranger = slot.seat.is_none();
        self.clients[client] = Some(slot);
        self.flush(client);
        if let (false, Some(door)) = (stranger, &mut self.door) {
            door.forget(client);
        }
        match next {
            Next::Go => {}
            Next::Close => self.close(client),
            Next::Distrust => {
                self.door.as_mut().map(Door::distrust);
                self.close(client);
            }
        }
    }

    fn answer_all(&mut self, client: ClientId, slot: &mut Client) -> Next {
        let Client { connection, seat, dialect, out, .. } = slot;
        let mut visit = Visit { client, seat, dialect, out };
        loop {
            match connection.next() {
                Ok(None) => return Next::Go,
                Ok(Some((ticket, request))) => {
                    match self.desk.handle(&mut visit, ticket, request) {
                        Next::Go => {}
                        other => return other,
                    }
                }
                Err(violation) => {
                    if let Some(seat) = *visit.seat {
                        let text = format_args!("its PMI client is not understood: {violation}");
                        say(self.desk.rank(seat), &text);
                    }
                    return Next::Close;
                }
            }
        }
    }

    fn flush(&mut self, client: ClientId) {
        let Some(slot) = self.clients.get_mut(client).and_then(Option::as_mut) else { return };
        let blocked = match slot.flush() {
            Sent::All => false,
            Sent::Part => true,
            Sent::Nothing => return self.close(client),
        };
        if blocked != slot.blocked {
            slot.blocked = blocked;
            // While it does not read, its requests wait too.
            let token = token::CLIENTS + client as u64;
            if self.poller.modify(&*slot, token, slot.interest()).is_err() {
                self.close(client);
            }
        }
    }

    fn close(&mut self, client: ClientId) {
        let Some(slot) = self.clients.get_mut(client).and_then(Option::take) else { return };
        self.poller.remove(&slot, token::CLIENTS + client as u64);
        if let Some(door) = &mut self.door {
            door.forget(client);
        }
        self.desk.forget(client);
        self.own.iter_mut().filter(|own| **own == Some(client)).for_each(|own| *own = None);
        self.free.push(client);
    }

    /// A door that is closed must not wake us all the time.
    fn mind_the_door(&mut self) -> io::Result<()> {
        let Some(door) = &self.door else { return Ok(()) };
        let wanted = !door.is_closed();
        if wanted != self.door_watched {
            self.door_watched = wanted;
            match wanted {
                true => self.poller.add(door, token::DOOR, Interest::Read)?,
                false => self.poller.remove(door, token::DOOR),
            }
        }
        Ok(())
    }

    fn open_door(&mut self) -> io::Result<()> {
        while let Some(socket) = self.door.as_mut().and_then(Door::accept) {
            let client = self.attach(socket, None)?;
            if let Some(door) = &mut self.door {
                door.watch(client);
            }
        }
        Ok(())
    }

    /// Hears which processes have ended.
    fn hear_boss(&mut self) {
        match self.boss.hear() {
            Word::Ended(ranks) => self.ranks_ended(&ranks),
            Word::Over => {
                if let Boss::Program { .. } = self.boss {
                    self.rank_ended(0);
                }
                self.over = true;
            }
        }
    }

    fn ranks_ended(&mut self, ranks: &[u32]) {
        let seats: Vec<_> = ranks.iter().filter_map(|rank| self.desk.seat(*rank)).collect();
        seats.into_iter().for_each(|seat| self.rank_ended(seat));
    }

    /// Takes the last requests of a process that has ended, then counts it among the lost if it has not left.
    fn rank_ended(&mut self, seat: usize) {
        if let Some(client) = self.own[seat] {
            while self.clients[client].is_some() && self.on_client_is_open(client) {}
            self.close(client);
        }
        if !self.desk.ended(seat) {
            return;
        }
        match &self.boss {
            Boss::Launcher(control) => notify(control, &Notice::Lost(self.desk.rank(seat))),
            Boss::Program { .. } => self.desk.ensemble().report_lost(),
        }
    }

    /// Takes what is left in a socket; false when there is no more.
    fn on_client_is_open(&mut self, client: ClientId) -> bool {
        let Some(slot) = self.clients[client].as_mut() else { return false };
        match slot.read() {
            Heard::Something => {
                self.answer(client);
                true
            }
            Heard::Nothing | Heard::End => false,
        }
    }
}
