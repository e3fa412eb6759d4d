//! The session of one rank with the key-value server of its job, through the board of its node.

mod attributes;
mod courier;
mod ensemble;
mod error;
mod leading;
mod lifeline;
mod node;
mod puts;
mod split;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pmi_protocol::exchange::Goal;
use pmi_protocol::limits::{KEY_MAX, VALUE_MAX};
use pmi_protocol::record::{Record, RecordKind, space_name, space_number, space_of_name};

use crate::{Arrival, Slot, Wait};
use courier::Courier;
pub use ensemble::{Ensemble, MemberId};
pub use error::Error;
use node::{Ahead, Node};
use puts::Puts;
use split::Glances;

/// What a rank must know to join its job.
#[derive(Clone, Debug)]
pub struct Config {
    /// This process's rank.
    pub rank: u32,
    /// Number of ranks in the process group.
    pub size: u32,
    /// Job name, which is the default kvsname.
    pub job: String,
    /// The job's 256-bit key.
    pub secret: [u8; 32],
    /// Name of the node, for a host that stands for several: processes with different names share no board.
    pub node: Option<String>,
    /// Every address of the server; all are tried at once, the first to answer wins.
    pub servers: Vec<SocketAddr>,
    /// How many ranks of the group run on this node, where known. A hint.
    pub local_size: Option<u32>,
    /// Longest time that a call may wait; `None`: as long as progress is possible.
    pub timeout: Option<Duration>,
    /// Ceiling of the log in bytes.
    pub log_ceiling: u64,
    /// May the board be shared with other processes? `false` gives a private board.
    pub share: bool,
}

/// How long a rank waits for its peers before it goes ahead as delegate with those who have arrived: short
/// where nobody knows how many will come.
const PATIENCE_UNKNOWN: Duration = Duration::from_millis(1);
/// The same where the number is known: then it only serves to report stragglers and to find a dead delegate.
const PATIENCE_KNOWN: Duration = Duration::from_millis(250);
/// Between two looks at the delegate's health by those who wait.
const PATIENCE_LATER: Duration = Duration::from_secs(1);
/// What to look at when the server does not answer.
const SERVER_ADVICE: &str = "the server is gone, the network between is, or PMI_KVS_SERVER and PMI_KVS_SECRET are not this job's";
/// Longest time that `PMI_Abort` waits for the server.
const ABORT_LIMIT: Duration = Duration::from_secs(2);
/// Longest time that `PMI_Finalize` waits for the server. Nothing depends on its answer.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);

/// A rank's session. All methods may be called from any thread; barriers are taken one at a time.
pub struct Session {
    node: Node,
    slot: Slot,
    patience: Duration,
    puts: Mutex<Puts>,
    /// Is there anything in `puts`? Saves most gets the lock.
    has_own: AtomicBool,
    spaces: AtomicU32,
    /// The next barrier. Held during a barrier.
    barrier: Mutex<u32>,
    courier: Mutex<Option<Courier>>,
    ahead: Mutex<Option<Ahead>>,
    glances: Mutex<Glances>,
    finalized: AtomicBool,
}

/// A lock whose holder panicked still guards usable data here: every change is made in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// Joins the job: attaches to the board, or makes it, and greets the server unless a peer has done so.
    pub fn join(config: Config) -> Result<Session, Error> {
        let node = Node::open(config)?;
        let slot = node.claim(node.config.rank)?;
        let session = Session::new(node, slot);
        session.pass(0, Goal::Join, false)?;
        if session.node.has_peers_to_introduce() {
            session.with_courier(|courier| {
                session.node.introduce_peers(courier);
                Ok(())
            })?;
        }
        session.warm_up();
        Ok(session)
    }

    fn new(node: Node, slot: Slot) -> Session {
        Session {
            slot,
            patience: first_patience(&node),
            puts: Mutex::default(),
            has_own: AtomicBool::new(false),
            spaces: AtomicU32::new(0),
            barrier: Mutex::new(1),
            courier: Mutex::new(None),
            ahead: Mutex::new(None),
            glances: Mutex::default(),
            finalized: AtomicBool::new(false),
            node,
        }
    }

    /// Takes the page faults of code, heap and board here, where the ranks of a node still start one after the
    /// other, and not in the first exchange, where all would take them while all wait.
    fn warm_up(&self) {
        self.node.board.populate();
        let mut scratch = Puts::default();
        scratch.put(0, self.node.config.job.as_bytes(), self.node.config.job.as_bytes());
        scratch.committed(0);
        scratch.seal();
        scratch.released();
        let _ = self.get(self.kvsname().as_bytes(), b"-", |_| ());
    }

    /// The default kvsname.
    pub fn kvsname(&self) -> &str {
        &self.node.config.job
    }

    /// An error, if the job is over.
    pub fn check_over(&self) -> Result<(), Error> {
        self.node.check_over()
    }

    /// Is this the process that joined, and not a forked child of it? Costs no system call.
    pub fn is_owner(&self) -> bool {
        self.node.board.is_owner()
    }

    /// `PMI_KVS_Create`: makes a space and returns its kvsname, usable by all ranks at once.
    pub fn create_space(&self) -> Result<String, Error> {
        let space =
            space_number(self.node.config.rank, self.spaces.fetch_add(1, Ordering::Relaxed));
        self.append(RecordKind::Create, space)?;
        Ok(space_name(&self.node.config.job, space))
    }

    /// `PMI_KVS_Destroy`. The group's own space cannot be destroyed (`NoSuchSpace`).
    pub fn destroy_space(&self, kvsname: &[u8]) -> Result<(), Error> {
        let space = self.space(kvsname)?;
        if space == 0 {
            return Err(Error::NoSuchSpace);
        }
        lock(&self.puts).destroy(space);
        self.append(RecordKind::Destroy, space)
    }

    fn append(&self, kind: RecordKind, space: u64) -> Result<(), Error> {
        let mut bytes = Vec::new();
        Record { kind, space, key: b"", value: b"" }.append_to(&mut bytes);
        self.node.commit(&self.slot, &bytes)
    }

    /// The space of a kvsname, if it is one of this job's and has not been destroyed.
    fn space(&self, kvsname: &[u8]) -> Result<u64, Error> {
        if kvsname == self.node.config.job.as_bytes() {
            return Ok(0);
        }
        let space = space_of_name(&self.node.config.job, kvsname).ok_or(Error::NoSuchSpace)?;
        let unborn = space_number(self.node.config.rank, self.spaces.load(Ordering::Relaxed));
        let mine = space >> 32 == unborn >> 32;
        let destroyed =
            self.node.board.lookup(space, b"", |record| record.kind == RecordKind::Destroy)
                == Some(true)
                || lock(&self.puts).is_destroyed(space);
        if destroyed || (mine && space >= unborn) { Err(Error::NoSuchSpace) } else { Ok(space) }
    }

    /// `PMI_KVS_Put`.
    pub fn put(&self, kvsname: &[u8], key: &[u8], value: &[u8]) -> Result<(), Error> {
        let space = self.space(kvsname)?;
        check_pair(key, value)?;
        lock(&self.puts).put(space, key, value);
        self.has_own.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// `PMI_KVS_Commit`.
    pub fn commit(&self, kvsname: &[u8]) -> Result<(), Error> {
        let space = self.space(kvsname)?;
        let mut puts = lock(&self.puts);
        if let Some(bytes) = puts.pending(space) {
            self.node.commit(&self.slot, bytes)?;
            puts.committed(space);
        }
        Ok(())
    }

    /// `PMI_KVS_Get`: calls `read` with the value.
    pub fn get<R>(
        &self,
        kvsname: &[u8],
        key: &[u8],
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, Error> {
        let space = self.space(kvsname)?;
        check_key(key)?;
        if self.has_own.load(Ordering::Relaxed)
            && let Some(value) = lock(&self.puts).own(space, key)
        {
            return Ok(read(value));
        }
        self.node.board.lookup(space, key, |record| read(record.value)).ok_or(Error::NoSuchKey)
    }

    /// The pair of a space that follows `cursor` (0: the first), with the cursor of the next; `None` at the end.
    /// Calls `read` with key and value. The caller's own puts are seen as `get` sees them.
    pub fn next_pair<R>(
        &self,
        kvsname: &[u8],
        cursor: u64,
        read: impl FnOnce(&[u8], &[u8]) -> R,
    ) -> Result<Option<(u64, R)>, Error> {
        /// Cursors from here on count the caller's own new keys.
        const OWN: u64 = 1 << 63;
        let space = self.space(kvsname)?;
        let puts = lock(&self.puts);
        let mut read = Some(read);
        if cursor < OWN {
            let found = self.node.board.next_record(space, cursor, |record| {
                let value = puts.own(space, record.key).unwrap_or(record.value);
                read.take().map(|read| read(record.key, value))
            });
            if let Some((next, Some(result))) = found {
                return Ok(Some((next, result)));
            }
        }
        let index = (cursor.max(OWN) - OWN) as usize;
        let known = |key: &[u8]| self.node.board.lookup(space, key, |_| ()).is_some();
        let own = puts.all_own(space).filter(|(key, _)| !known(key)).nth(index);
        Ok(own.zip(read).map(|((key, value), read)| (OWN + index as u64 + 1, read(key, value))))
    }

    /// `PMI_Barrier`.
    pub fn barrier(&self) -> Result<(), Error> {
        let mut next = lock(&self.barrier);
        lock(&self.puts).seal();
        self.pass(*next, Goal::Barrier, false)?;
        self.passed(&mut next);
        Ok(())
    }

    fn passed(&self, next: &mut u32) {
        *next += 1;
        let mut puts = lock(&self.puts);
        puts.released();
        self.has_own.store(!puts.is_empty(), Ordering::Relaxed);
    }

    /// When a call that begins now has to end.
    fn deadline(&self) -> Option<Instant> {
        self.node.config.timeout.map(|limit| Instant::now() + limit)
    }

    /// Waits until `epoch` is open, as delegate where it must. `watch`: look out for the dead, whoever else does.
    fn pass(&self, epoch: u32, goal: Goal, watch: bool) -> Result<(), Error> {
        let deadline = self.deadline();
        self.settle(deadline)?;
        let mut lead = goal == Goal::Join || self.arrive(epoch);
        let mut patience = spread(self.patience, self.node.config.rank);
        loop {
            self.node.check_over()?;
            if self.node.board.opened() > epoch {
                return Ok(());
            }
            if let Some(delegate) = lead.then(|| self.node.board.try_lead(&self.slot)).flatten() {
                self.with_courier(|courier| {
                    self.conduct(courier, delegate, epoch, &goal, deadline)
                })?;
                continue;
            }
            match self.node.board.wait_opened(epoch, self.limit(deadline, patience, watch)) {
                Wait::Opened => return Ok(()),
                Wait::Failed => {}
                Wait::Vacant => lead = true,
                Wait::TimedOut => (lead, patience) = (true, PATIENCE_LATER),
            }
            check_deadline(deadline, epoch)?;
        }
    }

    /// Enters the barrier. True if this rank should be the delegate.
    fn arrive(&self, epoch: u32) -> bool {
        let last = self.node.board.arrive(&self.slot, epoch) == Arrival::Last;
        // Pairs with the fence in `conduct`: either the delegate sees this arrival, or this rank sees its port.
        fence(Ordering::SeqCst);
        let port = self.node.board.delegate_port();
        if port != 0 && (last || self.patience == PATIENCE_UNKNOWN) {
            self.poke(port);
        }
        last
    }

    /// Wakes the delegate, which waits for the server, so that it looks at the arrivals again.
    fn poke(&self, port: u16) {
        let poked = self.with_courier(|courier| {
            courier.poke(port);
            Ok(())
        });
        if let Err(error) = poked {
            tracing::debug!(%error, "the delegate could not be woken; it will look by itself");
        }
    }

    /// How long to sleep. Only some ranks watch over their peers: a timer costs a tenth of a barrier.
    fn limit(&self, deadline: Option<Instant>, patience: Duration, watch: bool) -> Duration {
        let watches =
            watch || self.patience == PATIENCE_UNKNOWN || self.node.board.is_watch(&self.slot);
        match deadline {
            None if watches => patience,
            None => Duration::MAX,
            Some(deadline) => patience
                .min(deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1)),
        }
    }

    fn with_courier<R>(
        &self,
        act: impl FnOnce(&mut Courier) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let mut courier = lock(&self.courier);
        match &mut *courier {
            Some(courier) => act(courier),
            none => act(none.insert(Courier::open(&self.node.config.servers)?)),
        }
    }

    /// `PMI_Abort`'s message to the job: returns when the server knows, or after two seconds.
    pub fn abort(&self, code: i32, text: &str) {
        self.node.abort(self.node.config.rank, code, text);
    }

    /// `PMI_Finalize`. Dropping a session without it means that the rank died.
    pub fn finalize(&self) -> Result<(), Error> {
        if self.finalized.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        if let Err(error) = self.settle(Some(Instant::now() + LEAVE_LIMIT)) {
            tracing::debug!(%error, "the server has not followed; nothing depends on it any more");
        }
        if self.node.board.release(&self.slot) {
            self.node.leave(LEAVE_LIMIT);
        }
        Ok(())
    }
}

/// How long a rank of this node waits for its peers before it goes ahead.
fn first_patience(node: &Node) -> Duration {
    if node.knows_peers() { PATIENCE_KNOWN } else { PATIENCE_UNKNOWN }
}

/// Spreads a patience over the ranks, so that not all lose it at once.
fn spread(patience: Duration, rank: u32) -> Duration {
    patience + patience * (rank % 64) / 64
}

fn check_deadline(deadline: Option<Instant>, epoch: u32) -> Result<(), Error> {
    if deadline.is_none_or(|deadline| Instant::now() < deadline) {
        return Ok(());
    }
    Err(Error::Timeout(match epoch {
        0 => format!("no answer within PMI_TIMEOUT: {SERVER_ADVICE}"),
        _ => format!(
            "barrier {epoch} took longer than PMI_TIMEOUT allows: a rank is late, or has never entered it"
        ),
    }))
}

fn check_key(key: &[u8]) -> Result<(), Error> {
    if (1..=KEY_MAX).contains(&key.len()) { Ok(()) } else { Err(Error::KeyLength) }
}

fn check_pair(key: &[u8], value: &[u8]) -> Result<(), Error> {
    check_key(key)?;
    if value.len() <= VALUE_MAX { Ok(()) } else { Err(Error::ValueLength) }
}

fn host_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| "an unnamed host".to_owned())
}
