//! The facade: everything that a rank, a delegate or a launcher does with a board.

use std::io;
use std::sync::atomic::Ordering::{Acquire, SeqCst};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use pmi_protocol::limits::{LOG_CEILING_MAX, LOG_CEILING_MIN};
use pmi_protocol::ranks::RankRanges;
use pmi_protocol::record::Record;

use crate::delegate::Delegate;
use crate::failure::Failure;
use crate::layout::Founding;
use crate::liveness::{self, ClaimError, Member, Slot};
use crate::rendezvous::Meeting;
use crate::shared::Shared;
use crate::sys::random;
use crate::turnstile::{Turnstile, Wait};
use crate::uplog::UpLogFull;
use crate::{index, layout};

/// What a process must know to find its board.
#[derive(Clone, Copy, Debug)]
pub struct BoardConfig<'a> {
    /// The job's 256-bit key.
    pub secret: &'a [u8; 32],
    /// The job's name.
    pub job: &'a str,
    /// Name of the node, for a host that stands for several (`PMI_KVS_NODE`); `None`: the host is the node.
    pub node: Option<&'a str>,
    /// Ranks of the process group.
    pub size: u32,
    /// How many of them run on this node, where known. A hint, and the same for all.
    pub local_size: Option<u32>,
    /// Bytes that the down-log can hold. The board's maker decides.
    pub log_ceiling: u64,
    /// May the board be shared with other processes?
    pub share: bool,
}

/// Whether to wait for others after an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// All ranks of this node have arrived, as far as the hint goes: lead.
    Last,
    /// Others are still to come: wait for them, and lead when patience ends.
    Early,
}

/// One process's access to the board of its job and node. Any method may be called from any thread.
#[derive(Debug)]
pub struct Board {
    shared: Arc<Shared>,
    size: u32,
    local_size: Option<u32>,
}

/// Boards that this process has open, so that it never has two descriptors of one memory file.
static OPEN: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

impl Board {
    /// Attaches to the board, or makes it if there is none. Where it cannot be shared, the result is a private
    /// board; the reason goes to the trace.
    ///
    /// # Errors
    /// Not even private memory can be had; typically `RLIMIT_AS` is below the log ceiling.
    pub fn open(config: &BoardConfig<'_>) -> io::Result<Board> {
        let meeting = meeting(config)?;
        let shared = match config.share {
            true => attend_once(&meeting),
            false => Err(io::Error::other("sharing is switched off")),
        };
        let shared = shared.or_else(|reason| {
            tracing::debug!(%reason, "the board is private");
            Shared::private(meeting.founding).map(Arc::new)
        });
        shared.map(|shared| Board::new(shared, config)).map_err(explain)
    }

    /// Makes the board without taking a slot: for a launcher, before it starts the ranks, and best before it opens
    /// many descriptors.
    ///
    /// # Errors
    /// `AddrInUse` if the board exists; otherwise what the system says.
    pub fn host(config: &BoardConfig<'_>) -> io::Result<Board> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = Arc::new(meeting(config)?.host().map_err(explain)?);
        remember(&mut open, &shared);
        Ok(Board::new(shared, config))
    }

    fn new(shared: Arc<Shared>, config: &BoardConfig<'_>) -> Board {
        // On a private board nobody else is to come.
        let local_size = if shared.file().is_some() { config.local_size } else { Some(1) };
        Board { shared, size: config.size, local_size }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn turnstile(&self) -> &Turnstile {
        &self.shared.header().turnstile
    }

    /// Takes the page faults of a first, small exchange now.
    pub fn populate(&self) {
        self.shared.segment().populate();
    }

    /// Is this a board that no other process can see?
    pub fn is_private(&self) -> bool {
        self.shared.file().is_none()
    }

    /// Did this process make the board, rather than attach to it?
    pub fn is_host(&self) -> bool {
        self.shared.is_host()
    }

    /// Is this the process that opened the board? A forked child must not act as the rank. No system call.
    pub fn is_owner(&self) -> bool {
        self.shared.is_owner()
    }

    /// The node's number: random, not zero, the same for all processes on the board.
    pub fn node_id(&self) -> u64 {
        self.shared.segment().founding().node_id
    }

    /// Ranks of the process group, as the board's maker was told.
    pub fn size(&self) -> u32 {
        self.shared.segment().founding().size
    }

    /// Takes this process's place as `rank`. The claim ends with the process, or with [`release`](Self::release).
    pub fn claim(&self, rank: u32) -> Result<Slot, ClaimError> {
        match self.size() {
            board if board != self.size => Err(ClaimError::SizeDiffers { board, ours: self.size }),
            size if rank >= size => Err(ClaimError::RankBeyondSize { size }),
            _ => liveness::claim(&self.shared, rank).inspect_err(|error| self.keep_locks(*error)),
        }
    }

    /// Another copy of this code in this process, with a descriptor of its own, may be the rank. Its locks would go
    /// with ours: record locks end when a process closes *any* descriptor of the file. So this one stays open.
    fn keep_locks(&self, error: ClaimError) {
        if matches!(error, ClaimError::RankTaken { pid } if pid == self.shared.pid()) {
            std::mem::forget(Arc::clone(&self.shared));
        }
    }

    /// `PMI_Finalize`: the process may end from here on without being missed. True if it is the last one: all
    /// claimed slots have finalized, and as many as the local size says. The caller then tells the server. Two
    /// that leave at the same moment may both hear that they are the last. Nobody may use the slot any more.
    pub fn release(&self, slot: &Slot) -> bool {
        self.is_owner() && liveness::release(&self.shared, slot, self.local_size.unwrap_or(0))
    }

    /// The rank's process, for which this one holds the place, has ended without `PMI_Finalize`.
    pub fn declare_dead(&self, slot: &Slot) {
        liveness::declare_dead(&self.shared, slot);
    }

    /// Is no other rank of this node there, or to come? Where nobody knows how many will come, all ranks of the group
    /// may.
    pub fn is_alone(&self, slot: &Slot) -> bool {
        liveness::is_alone(&self.shared, slot, self.local_size.unwrap_or(self.size))
    }

    /// Everybody who has claimed a slot, in the order of their coming. Asks the kernel about each that has not
    /// finalized: one system call per rank.
    pub fn members(&self) -> Vec<Member> {
        liveness::members(&self.shared)
    }

    /// Have all ranks of this node joined, as far as their number is known?
    pub(crate) fn all_have_joined(&self) -> bool {
        self.local_size == Some(liveness::claimed(&self.shared).len() as u32)
    }

    /// A member that will never reach the next barrier: one found dead, or one that has finalized although others
    /// stand in that barrier. Looks for the dead itself, but at most every 50 milliseconds among all processes of
    /// the board: call it again.
    pub fn casualty(&self) -> Option<Member> {
        liveness::casualty(&self.shared)
    }

    /// Appends whole records to the up-log, all or nothing. They reach the server with the next exchange.
    pub fn commit(&self, slot: &Slot, records: &[u8]) -> Result<(), UpLogFull> {
        let (segment, len) = (self.shared.segment(), records.len() as u64);
        let write = |held: &mut _, offset| segment.write_ring(held, offset, records);
        self.shared.header().uplog.append(slot.holder(), &*self.shared, len, write)
    }

    /// End of the up-log.
    pub fn up_end(&self) -> u64 {
        self.shared.header().uplog.end()
    }

    /// Start of the up-log: the server holds everything below.
    pub fn up_base(&self) -> u64 {
        self.shared.header().uplog.base()
    }

    /// The mark: how much of the down-log is visible.
    pub fn visible(&self) -> u64 {
        self.shared.header().reading.visible.load(Acquire)
    }

    /// Calls `read` with the current record of a key: a Put, or with the empty key the Create or Destroy of the
    /// space. No system call.
    pub fn lookup<R>(
        &self,
        space: u64,
        key: &[u8],
        read: impl FnOnce(&Record<'_>) -> R,
    ) -> Option<R> {
        index::lookup(self.shared.segment(), space, key).map(|(_, record)| read(&record))
    }

    /// Calls `read` with the first Put of a space at or after `cursor` that has not been replaced; returns the
    /// cursor behind it too. Begin with 0. A cursor stays good over barriers.
    pub fn next_record<R>(
        &self,
        space: u64,
        cursor: u64,
        read: impl FnOnce(&Record<'_>) -> R,
    ) -> Option<(u64, R)> {
        index::next_record(self.shared.segment(), space, cursor)
            .map(|(next, record)| (next, read(&record)))
    }

    /// Number of open epochs: 0 before the node is known to the server, k + 1 when epoch k is open.
    pub fn opened(&self) -> u32 {
        self.turnstile().opened()
    }

    /// Notes that the slot stands in barrier `epoch`. To repeat it changes nothing.
    pub fn arrive(&self, slot: &Slot, epoch: u32) -> Arrival {
        let standing = &self.shared.segment().slots()[slot.index as usize].standing;
        let arrived = self.turnstile().arrive(standing, epoch);
        let all = |count| arrived >= u64::from(count) * (u64::from(epoch) + 1);
        if self.local_size.is_some_and(all) { Arrival::Last } else { Arrival::Early }
    }

    /// The ranks of this node that stand in barrier `epoch`, and an up-log offset that covers their commits.
    pub fn arrivals(&self, epoch: u32) -> (RankRanges, u64) {
        let ranks = liveness::claimed(&self.shared)
            .iter()
            .filter(|cell| cell.standing.load(SeqCst) == epoch + 1)
            .map(|cell| cell.rank.load(Acquire));
        let ranks = RankRanges::from_ranks(ranks);
        // Read after the arrivals, each of which came after its commits.
        (ranks, self.up_end())
    }

    /// Becomes the node's delegate, if there is none or if the present one has died. Whoever succeeds must look at
    /// [`opened`](Self::opened) again: the epoch may have been opened meanwhile.
    pub fn try_lead(&self, slot: &Slot) -> Option<Delegate<'_>> {
        let lead = self.turnstile().try_lead(slot.holder(), &*self.shared)?;
        Some(Delegate::new(self, lead))
    }

    /// Has the last delegate given up, without another one having come since?
    pub fn is_vacant(&self) -> bool {
        self.turnstile().is_vacant()
    }

    /// Does this slot look out for the dead while it waits? The first slots do, and a share of the others. The rest may
    /// wait without a limit (`Duration::MAX`), which is cheaper: some watcher will wake them.
    pub fn is_watch(&self, slot: &Slot) -> bool {
        slot.index < layout::WATCH || slot.index.is_multiple_of(layout::WATCH)
    }

    /// UDP port on loopback of the present delegate: whoever arrives early pokes it, so that it looks at the
    /// arrivals again. 0 if there is none.
    pub fn delegate_port(&self) -> u16 {
        self.shared.header().people.port.load(SeqCst) as u16
    }

    /// What the session says of the node's lifeline; zero at first.
    pub(crate) fn line_word(&self) -> u64 {
        self.shared.header().people.line.load(SeqCst)
    }

    /// Replaces it, unless somebody else has. True if that was done.
    pub(crate) fn replace_line_word(&self, current: u64, new: u64) -> bool {
        let line = &self.shared.header().people.line;
        line.compare_exchange(current, new, SeqCst, SeqCst).is_ok()
    }

    /// Sleeps until `epoch` is open, for at most `patience`; `Duration::MAX` is without a limit.
    pub fn wait_opened(&self, epoch: u32, patience: Duration) -> Wait {
        self.turnstile().wait_opened(epoch, patience, &*self.shared)
    }

    /// Ends the job for everybody on the board. The first failure stays.
    pub fn fail(&self, failure: &Failure) {
        if self.shared.header().failure.record(failure) {
            self.turnstile().fail(&*self.shared);
            self.shared.header().attributes.announce(&*self.shared);
        }
    }

    /// Why the job is over.
    pub fn failure(&self) -> Option<Failure> {
        self.shared.header().failure.read()
    }
}

fn meeting(config: &BoardConfig<'_>) -> io::Result<Meeting> {
    let founding = Founding {
        size: config.size,
        ceiling: config.log_ceiling.clamp(LOG_CEILING_MIN, LOG_CEILING_MAX),
        node_id: random::nonzero()?,
        tag: [0; 2],
        pid_namespace: pid_namespace(),
    };
    let peers = config.local_size.unwrap_or(config.size).min(layout::SLOTS_MAX);
    Ok(Meeting::new(config.secret, (config.job, config.node), peers, founding))
}

/// Inode of this process's pid namespace; 0 where `/proc` does not say.
fn pid_namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |about| about.ino())
}

fn attend_once(meeting: &Meeting) -> io::Result<Arc<Shared>> {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let same = |shared: &Arc<Shared>| {
        shared.is_owner() && shared.segment().founding().tag == meeting.founding.tag
    };
    if let Some(shared) = open.iter().filter_map(Weak::upgrade).find(same) {
        return Ok(shared);
    }
    let shared = Arc::new(meeting.attend()?);
    remember(&mut open, &shared);
    Ok(shared)
}

fn remember(open: &mut Vec<Weak<Shared>>, shared: &Arc<Shared>) {
    open.retain(|known| known.strong_count() > 0);
    open.push(Arc::downgrade(shared));
}

fn explain(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::OutOfMemory => io::Error::new(
            error.kind(),
            format!(
                "no address space for the board: raise `ulimit -v` or lower PMI_KVS_LOG_CEILING ({error})"
            ),
        ),
        _ => error,
    }
}
