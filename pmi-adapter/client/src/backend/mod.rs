//! Where a process's key-value spaces and barriers are: with our server, with the server of another starter, with one that
//! the step starts itself, or all its own. [`probe`] decides.

mod kvs;
pub mod probe;
mod singleton;
mod step;
pub mod wire;

pub use kvs::session_config;
use pmi_protocol::limits::{KEY_MAX, KVSNAME_MAX, VALUE_MAX};
use pmi_protocol::mapping::PROCESS_MAPPING_KEY;

use probe::Choice;

use crate::environment::Placement;
use crate::environment::descriptor::Descriptor;
use crate::error::{BackendError, Failure};

/// Reads a value in place: a get copies it once, straight into the caller's buffer.
pub type ReadValue<'a> = &'a mut dyn FnMut(&[u8]);

/// Reads a key and its value in place.
pub type ReadPair<'a> = &'a mut dyn FnMut(&[u8], &[u8]);

/// Where this process stands in its job, as whoever holds the job together knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Rank in the process group, below `size`.
    pub rank: u32,
    /// Number of ranks in the process group, at least 1.
    pub size: u32,
    /// Number of this process's command in a job of several commands.
    pub appnum: u32,
    /// Number of ranks that the job could have, at least `size`.
    pub universe_size: u32,
    /// Has the group a parent, which spawned it?
    pub spawned: bool,
}

impl From<&Placement> for Place {
    fn from(placement: &Placement) -> Place {
        let Placement { rank, size, appnum, universe_size, spawned, .. } = *placement;
        Place { rank, size, appnum, universe_size, spawned }
    }
}

/// The maxima that programs are told, in bytes. What is read from a program may have as many; whether [`Backend::put`]
/// takes all of them is its own decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of a kvsname.
    pub kvsname: usize,
    /// Of a key.
    pub key: usize,
    /// Of a value.
    pub value: usize,
}

/// The maxima of our own server, and of a process outside any job.
pub const LIMITS: Limits = Limits { kvsname: KVSNAME_MAX, key: KEY_MAX, value: VALUE_MAX };

/// What `libpmi.so.0` and `libpmi2.so.0` need from whoever holds the job together. Methods may be called from any
/// thread. All but [`get`](Self::get) are called by the process that joined only; `get` may come from a forked child
/// too, and must return an error there.
pub trait Backend: Send + Sync {
    /// Rank, size, and what goes with them. Constant.
    fn place(&self) -> Place;

    /// The maxima that the server announced. Constant.
    fn limits(&self) -> Limits;

    /// Is this a process outside any job, which may leave and begin anew?
    fn is_singleton(&self) -> bool {
        false
    }

    /// The group's own key-value space; for PMI-2 the job id.
    fn kvsname(&self) -> &str;

    /// Makes a space that every rank can use at once, and returns its kvsname.
    fn create_space(&self) -> Result<String, BackendError>;

    /// Ends a space made by [`Backend::create_space`].
    fn destroy_space(&self, kvsname: &[u8]) -> Result<(), BackendError>;

    /// Puts a pair: seen by this rank at once, by others after commit and barrier.
    fn put(&self, kvsname: &[u8], key: &[u8], value: &[u8]) -> Result<(), BackendError>;

    /// Hands over what this rank has put.
    fn commit(&self, kvsname: &[u8]) -> Result<(), BackendError>;

    /// Calls `read` with the value of a key.
    fn get(&self, kvsname: &[u8], key: &[u8], read: ReadValue<'_>) -> Result<(), BackendError>;

    /// Calls `read` with the pair at `cursor` (0: the first) and returns the cursor of the next; `None`, without
    /// a call, at the end.
    fn next_pair(
        &self,
        kvsname: &[u8],
        cursor: u64,
        read: ReadPair<'_>,
    ) -> Result<Option<u64>, BackendError>;

    /// Waits for every rank of the group. Never called while a split barrier is under way.
    fn barrier(&self) -> Result<(), BackendError>;

    /// Enters a barrier without waiting in it: the first half of a split barrier. Never called while one is under
    /// way: [`Member`](crate::process::Member) sees to that. Any other call may come in between.
    fn begin_barrier(&self) -> Result<(), BackendError>;

    /// Has the barrier under way opened? Does not wait. Once it says so, [`finish_barrier`](Self::finish_barrier)
    /// returns at once.
    fn test_barrier(&self) -> Result<bool, BackendError>;

    /// Waits in the barrier that [`begin_barrier`](Self::begin_barrier) entered. Called once for each.
    fn finish_barrier(&self) -> Result<(), BackendError>;

    /// Puts a pair that the ranks of this node share, at once and without a barrier. A later put replaces.
    fn put_node_attribute(&self, name: &[u8], value: &[u8]) -> Result<(), BackendError>;

    /// Calls `read` with the value of a node attribute. Without one: `NoSuchKey`, or if `wait` is set, it waits until a
    /// rank of this node puts it.
    fn node_attribute(
        &self,
        name: &[u8],
        wait: bool,
        read: ReadValue<'_>,
    ) -> Result<(), BackendError>;

    /// Calls `read` with an attribute of the job that its server provides; `NoSuchKey` if it does not. What can be
    /// told from [`place`](Self::place) is not asked for here. PMI-1 servers have one in the group's space: the mapping
    /// of ranks to nodes.
    fn job_attribute(&self, name: &[u8], read: ReadValue<'_>) -> Result<(), BackendError> {
        match name == PROCESS_MAPPING_KEY.as_bytes() {
            true => self.get(self.kvsname().as_bytes(), name, read),
            false => Err(BackendError::NoSuchKey),
        }
    }

    /// Tells the job that it is over; the caller exits next.
    fn abort(&self, code: i32, text: &str);

    /// Leaves the job in order.
    fn finalize(&self) -> Result<(), BackendError>;
}

/// Which library is asked: they speak with another starter's server in their own versions of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `libpmi.so.0`
    Pmi1,
    /// `libpmi2.so.0`
    Pmi2,
}

/// Connects a process with what holds its job together, as [`probe`] decides. `PMI_DEBUG` tells what was taken, and
/// why not what comes before it in the order.
pub fn connect(placement: &Placement, api: Api) -> Result<Box<dyn Backend>, Failure> {
    let decision = probe::decide(placement, &Descriptor::inspect).map_err(Failure::because)?;
    for reason in &decision.passed_by {
        tracing::debug!("{reason}");
    }
    tracing::debug!("taken: {}", decision.choice);
    Ok(match decision.choice {
        Choice::Kvs(server) => Box::new(kvs::join(placement, server)?),
        Choice::Step(step) => Box::new(kvs::join_step(placement, step)?),
        Choice::Descriptor(number) => Box::new(wire::join_at(number, placement, api)?),
        Choice::Port(port) => Box::new(wire::join_through(port, placement)?),
        Choice::Singleton => Box::new(singleton::Singleton::new(placement)),
    })
}
