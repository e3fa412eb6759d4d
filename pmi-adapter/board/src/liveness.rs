//! Who is on the board, and who has died.
//!
//! A rank claims its slot under a record lock on the byte of its rank number. The kernel releases the lock
//! when the process ends, however it ends: a slot that is *joined* without a lock has lost its process.

use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

use nix::time::{ClockId, clock_gettime};

use crate::layout::{SLOTS_MAX, SlotCell};
use crate::shared::Shared;
use crate::sys::locks;

/// The dead are looked for no more often than this, in milliseconds, whoever asks: one sweep costs a system call
/// per rank, and all ranks of a node wait at the same time.
const SWEEP_INTERVAL_MS: u64 = 50;

/// What has become of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// It runs.
    Joined = 1,
    /// It has left with `PMI_Finalize`.
    Finalized = 2,
    /// Its process ended, or replaced itself by another program, without `PMI_Finalize`.
    Dead = 3,
}

impl State {
    fn of(cell: &SlotCell) -> Option<State> {
        use State::*;
        let state = cell.state.load(SeqCst);
        [Joined, Finalized, Dead].into_iter().find(|known| *known as u32 == state)
    }
}

/// A rank on the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its rank.
    pub rank: u32,
    /// Its process id.
    pub pid: u32,
    /// What has become of it.
    pub state: State,
}

/// A rank's place on the board.
#[derive(Debug)]
pub struct Slot {
    pub(crate) index: u32,
    pub(crate) rank: u32,
}

impl Slot {
    /// The rank that claimed it.
    pub fn rank(&self) -> u32 {
        self.rank
    }

    pub(crate) fn holder(&self) -> crate::kernel::Holder {
        self.index + 1
    }
}

/// Why a rank cannot have a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimError {
    /// Another living process is this rank.
    RankTaken {
        /// Its process id.
        pid: u32,
    },
    /// The rank's process has died.
    RankDied {
        /// Its process id.
        pid: u32,
    },
    /// The rank has called `PMI_Finalize`; it cannot come back.
    RankFinalized,
    /// The processes on this board were told another size.
    SizeDiffers {
        /// The size of the board.
        board: u32,
        /// Our size.
        ours: u32,
    },
    /// The rank is not below the size.
    RankBeyondSize {
        /// The size.
        size: u32,
    },
    /// The board has no slot left. A private board will do.
    Full,
    /// The kernel refused the record lock (an `errno`). A private board will do.
    LockFailed(i32),
}

impl std::fmt::Display for ClaimError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use ClaimError::*;
        match self {
            RankTaken { pid } if *pid == std::process::id() => f.write_str(
                "this process already is this rank. If it has loaded both libpmi.so and libpmi2.so: use one of them",
            ),
            RankTaken { pid } => {
                write!(f, "process {pid} already is this rank: start each rank number once")
            }
            RankDied { pid } => {
                write!(f, "process {pid} was this rank and has died: start the whole job again")
            }
            RankFinalized => f.write_str("this rank has called PMI_Finalize and cannot join again"),
            SizeDiffers { board, ours } => write!(
                f,
                "the other ranks on this host were told size {board}, this one {ours}: \
                 start all with the same PMI_SIZE"
            ),
            RankBeyondSize { size } => {
                write!(f, "ranks go from 0 to size - 1, and the size is {size}")
            }
            Full => write!(f, "this host has more than {SLOTS_MAX} ranks of the job"),
            LockFailed(errno) => {
                write!(f, "cannot lock the rank: {}", std::io::Error::from_raw_os_error(*errno))
            }
        }
    }
}

impl std::error::Error for ClaimError {}

/// Slots handed out so far, in order.
pub fn claimed(shared: &Shared) -> &[SlotCell] {
    let count = shared.header().people.slots.load(Acquire).min(SLOTS_MAX);
    &shared.segment().slots()[..count as usize]
}

/// Claims a slot for a rank of this process.
pub fn claim(shared: &Shared, rank: u32) -> Result<Slot, ClaimError> {
    lock_rank(shared, rank)?;
    let outcome = match find(shared, rank) {
        Some(earlier) => Err(refusal(shared, &earlier)),
        None => take_slot(shared, rank),
    };
    if matches!(outcome, Err(error) if !matches!(error, ClaimError::RankTaken { .. })) {
        unlock_rank(shared, rank);
    }
    outcome
}

fn lock_rank(shared: &Shared, rank: u32) -> Result<(), ClaimError> {
    let failed = |error: std::io::Error| ClaimError::LockFailed(error.raw_os_error().unwrap_or(0));
    let Some(file) = shared.file() else { return Ok(()) };
    if locks::try_lock(file, rank).map_err(failed)? {
        return Ok(());
    }
    let pid = locks::holder(file, rank).map_err(failed)?.unwrap_or(0);
    Err(ClaimError::RankTaken { pid })
}

fn unlock_rank(shared: &Shared, rank: u32) {
    if let Some(Err(error)) = shared.file().map(|file| locks::unlock(file, rank)) {
        tracing::debug!(rank, %error, "the rank's lock stays until the process ends");
    }
}

fn find(shared: &Shared, rank: u32) -> Option<Member> {
    claimed(shared).iter().filter_map(member).find(|member| member.rank == rank)
}

/// We hold the rank's lock, so no *other* process lives as this rank.
fn refusal(shared: &Shared, earlier: &Member) -> ClaimError {
    match earlier.state {
        State::Finalized => ClaimError::RankFinalized,
        State::Joined if earlier.pid == shared.pid() => ClaimError::RankTaken { pid: earlier.pid },
        State::Joined | State::Dead => ClaimError::RankDied { pid: earlier.pid },
    }
}

fn take_slot(shared: &Shared, rank: u32) -> Result<Slot, ClaimError> {
    let index = shared.header().people.slots.fetch_add(1, SeqCst);
    let cell = shared.segment().slots().get(index as usize).ok_or(ClaimError::Full)?;
    cell.rank.store(rank, Relaxed);
    cell.pid.store(shared.pid(), Relaxed);
    cell.state.store(State::Joined as u32, SeqCst);
    Ok(Slot { index, rank })
}

/// Marks a slot as finalized; true if no slot is left joined, and at least `expected` have finalized.
pub fn release(shared: &Shared, slot: &Slot, expected: u32) -> bool {
    let cell = &shared.segment().slots()[slot.index as usize];
    let joined = State::Joined as u32;
    let first =
        cell.state.compare_exchange(joined, State::Finalized as u32, SeqCst, SeqCst).is_ok();
    if first {
        unlock_rank(shared, slot.rank);
    }
    let states = || claimed(shared).iter().filter_map(State::of);
    first
        && states().all(|state| state == State::Finalized)
        && states().count() >= expected as usize
}

/// Have at least `expected` claimed a slot, and all but the one of `slot` left? A slot that is being claimed has a rank
/// to come.
pub fn is_alone(shared: &Shared, slot: &Slot, expected: u32) -> bool {
    let gone = |cell| matches!(State::of(cell), Some(State::Finalized | State::Dead));
    let slots = claimed(shared);
    slots.len() >= expected as usize
        && (0..).zip(slots).all(|(index, cell)| index == slot.index || gone(cell))
}

/// Marks a joined slot of this process as dead: its lock would not tell, since this process lives.
pub fn declare_dead(shared: &Shared, slot: &Slot) {
    let cell = &shared.segment().slots()[slot.index as usize];
    let (from, to) = (State::Joined as u32, State::Dead as u32);
    if cell.state.compare_exchange(from, to, SeqCst, SeqCst).is_ok() {
        note_casualty(shared, slot.index);
    }
}

fn note_casualty(shared: &Shared, index: u32) {
    let _ = shared.header().people.casualty.compare_exchange(0, index + 1, SeqCst, SeqCst);
}

/// The member in a slot; `None` while it is being claimed.
fn member(cell: &SlotCell) -> Option<Member> {
    let state = State::of(cell)?;
    Some(Member { rank: cell.rank.load(Relaxed), pid: cell.pid.load(Relaxed), state })
}

/// The member in a slot, after asking the kernel whether it lives.
fn examine(shared: &Shared, cell: &SlotCell) -> Option<Member> {
    let seen = member(cell)?;
    if seen.state == State::Joined && !lives(shared, &seen) {
        // Fails if it has just finalized: its lock is released after its state is set.
        let (from, to) = (State::Joined as u32, State::Dead as u32);
        let _ = cell.state.compare_exchange(from, to, SeqCst, SeqCst);
    }
    member(cell)
}

/// A lock of our own would not show: a process does not conflict with itself. If the kernel does not answer, we
/// know nothing, and take nobody for dead.
fn lives(shared: &Shared, member: &Member) -> bool {
    let held_by_other = |file| locks::holder(file, member.rank).map_or(true, |pid| pid.is_some());
    member.pid == shared.pid() || shared.file().is_none_or(held_by_other)
}

/// Does the process in a slot live, and has it not finalized?
pub fn is_alive(shared: &Shared, index: u32) -> bool {
    let cell = shared.segment().slots().get(index as usize);
    cell.and_then(member).is_some_and(|seen| seen.state == State::Joined && lives(shared, &seen))
}

/// Everybody who has claimed a slot, in the order of their coming.
pub fn members(shared: &Shared) -> Vec<Member> {
    claimed(shared).iter().filter_map(|cell| examine(shared, cell)).collect()
}

/// The first member found dead, by whomever; else one that finalized too early.
pub fn casualty(shared: &Shared) -> Option<Member> {
    let people = &shared.header().people;
    if people.casualty.load(Acquire) == 0 && our_turn_to_sweep(shared) {
        sweep(shared);
    }
    let dead = people.casualty.load(Acquire).checked_sub(1);
    let cell = dead.and_then(|index| shared.segment().slots().get(index as usize));
    cell.and_then(member).or_else(|| deserter(shared))
}

/// A member that has finalized without arriving in a barrier in which others stand.
fn deserter(shared: &Shared) -> Option<Member> {
    let epoch = shared.header().turnstile.opened();
    let absent = |cell: &&SlotCell| cell.standing.load(SeqCst) <= epoch;
    let gone = |member: &Member| member.state == State::Finalized;
    let found = claimed(shared).iter().filter(absent).filter_map(member).find(gone)?;
    let waited_for = claimed(shared).iter().any(|cell| cell.standing.load(SeqCst) == epoch + 1);
    // If the epoch has opened meanwhile, it was right to go on.
    (waited_for && shared.header().turnstile.opened() == epoch).then_some(found)
}

fn our_turn_to_sweep(shared: &Shared) -> bool {
    let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC) else { return true };
    let now = now.tv_sec() as u64 * 1000 + now.tv_nsec() as u64 / 1_000_000;
    let swept = &shared.header().people.swept;
    let last = swept.load(Relaxed);
    now >= last + SWEEP_INTERVAL_MS && swept.compare_exchange(last, now, SeqCst, Relaxed).is_ok()
}

fn sweep(shared: &Shared) {
    let is_dead = |cell| examine(shared, cell).is_some_and(|member| member.state == State::Dead);
    if let Some(index) = claimed(shared).iter().position(is_dead) {
        note_casualty(shared, index as u32);
    }
}
