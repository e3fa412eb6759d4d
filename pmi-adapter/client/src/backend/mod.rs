//! Where a process's key-value spaces and barriers are: with the server of its job, or all its own.

mod kvs;
mod singleton;

use crate::environment::Placement;
use crate::error::{BackendError, Failure};

/// Reads a value in place: a get copies it once, straight into the caller's buffer.
pub type ReadValue<'a> = &'a mut dyn FnMut(&[u8]);

/// Reads a key and its value in place.
pub type ReadPair<'a> = &'a mut dyn FnMut(&[u8], &[u8]);

/// What `libpmi.so.0` needs from whoever holds the job together. Methods may be called from any thread.
pub trait Backend: Send + Sync {
    /// The group's own key-value space.
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

    /// Waits for every rank of the group.
    fn barrier(&self) -> Result<(), BackendError>;

    /// Tells the job that it is over; the caller exits next.
    fn abort(&self, code: i32, text: &str);

    /// Leaves the job in order.
    fn finalize(&self) -> Result<(), BackendError>;
}

/// Picks the backend of a process: the server of its job, else singleton. Never several silent singletons.
pub fn connect(placement: &Placement) -> Result<Box<dyn Backend>, Failure> {
    match &placement.server {
        Some(server) => Ok(Box::new(kvs::join(placement, server)?)),
        None if placement.size == 1 => Ok(Box::new(singleton::Singleton::new())),
        None => Err(Failure::because(placement.no_server())),
    }
}
