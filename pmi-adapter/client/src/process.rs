//! The state of this process between `PMI_Init` and `PMI_Finalize`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use pmi_protocol::mapping::{PROCESS_MAPPING_KEY, parse_mapping};

use crate::IDENTITY;
use crate::backend::{self, Api, Backend, LIMITS, Limits, Place};
use crate::collective::Barriers;
use crate::debug;
use crate::environment::Placement;
use crate::error::Failure;

/// The membership, from `PMI_Init` to `PMI_Finalize`. Writers hold it only to exchange the value, so a get
/// never waits for a barrier, and `PMI_Abort` neither.
static MEMBER: RwLock<Option<Arc<Member>>> = RwLock::new(None);

/// Has this process been a rank of a job and left it?
static LEFT: AtomicBool = AtomicBool::new(false);

/// Held through `PMI_Init` and `PMI_Finalize`, which may wait for the server.
static CHANGE: Mutex<()> = Mutex::new(());

/// This process as a member of its job.
pub struct Member {
    placement: Placement,
    backend: Box<dyn Backend>,
    /// The process that joined: a forked child inherits this state, but not the membership.
    owner: u32,
    clique: OnceLock<Vec<u32>>,
    /// Where each space's iteration stands. Iterators belong to the process, as in every PMI-1 library.
    cursors: Mutex<HashMap<Vec<u8>, u64>>,
    pub(crate) barriers: Barriers,
}

/// `PMI_Init` and `PMI2_Init`: joins the job. A second call changes nothing. Returns where the process stands in it.
///
/// A rank that has left its job cannot come back: the others may have ended it meanwhile, and its server too. A
/// process outside any job may begin anew as often as it likes.
pub fn init(api: Api) -> Result<Place, Failure> {
    let _change = lock(&CHANGE);
    if let Some(member) = peek(Arc::clone) {
        member.check_owner()?;
        return Ok(member.place());
    }
    if LEFT.load(Ordering::Relaxed) {
        return Err(Failure::because(
            "this process has left its job, which does not take it back: call PMI_Finalize once, at the end",
        ));
    }
    let member = Arc::new(Member::join(api)?);
    let place = member.place();
    *MEMBER.write().unwrap_or_else(PoisonError::into_inner) = Some(member);
    Ok(place)
}

/// `PMI_Finalize`: leaves the job, once a split barrier under way is complete. Without a membership there is nothing to
/// do, which is success.
pub fn finalize() -> Result<(), Failure> {
    let _change = lock(&CHANGE);
    let Some(member) = peek(Arc::clone) else { return Ok(()) };
    member.check_owner()?;
    if let Err(failure) = member.barriers.complete(member.backend()) {
        tracing::debug!(?failure, "the split barrier under way has failed");
    }
    let outcome = member.backend.finalize();
    LEFT.store(!member.backend.is_singleton(), Ordering::Relaxed);
    MEMBER.write().unwrap_or_else(PoisonError::into_inner).take();
    Ok(outcome?)
}

/// The membership of this very process: `None` before `PMI_Init`, after `PMI_Finalize` and in a forked child.
pub fn member() -> Option<Arc<Member>> {
    peek(Arc::clone).filter(|member| member.is_owner())
}

/// Applies `use_it` to the membership without a system call. In a forked child that is the parent's.
pub fn peek<R>(use_it: impl FnOnce(&Arc<Member>) -> R) -> Option<R> {
    MEMBER.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(use_it)
}

/// The maxima that programs are told: ours, until a server has said others.
pub fn limits() -> Limits {
    peek(|member| member.backend.limits()).unwrap_or(LIMITS)
}

impl Member {
    fn join(api: Api) -> Result<Member, Failure> {
        let placement = Placement::read(&|name| {
            std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
        })
        .map_err(|error| Failure::because(error.to_string()))?;
        debug::set_rank(placement.source.map(|_| placement.rank));
        tracing::debug!("{IDENTITY}");
        tracing::trace!("place: {placement:?}");
        let backend = backend::connect(&placement, api)?;
        if !backend.is_singleton() {
            debug::set_rank(Some(backend.place().rank));
        }
        Ok(Member {
            placement,
            backend,
            owner: std::process::id(),
            clique: OnceLock::new(),
            cursors: Mutex::default(),
            barriers: Barriers::default(),
        })
    }

    /// Where this process stands in its job.
    pub fn place(&self) -> Place {
        self.backend.place()
    }

    /// The job's key-value spaces and barriers.
    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    fn is_owner(&self) -> bool {
        self.owner == std::process::id()
    }

    fn check_owner(&self) -> Result<(), Failure> {
        if self.is_owner() {
            return Ok(());
        }
        Err(Failure::because(format!(
            "process {} is a fork of rank {} and not a member of the job: only process {} may call PMI",
            std::process::id(),
            self.place().rank,
            self.owner,
        )))
    }

    /// The ranks of this node, ascending.
    pub fn clique(&self) -> &[u32] {
        self.clique.get_or_init(|| {
            // The helpers of a Slurm step would have to wait for all nodes to know what Slurm has told this rank.
            let by_slurm = self.placement.step.is_some() || self.placement.mapping_by_helper;
            let told = self.placement.clique.clone().filter(|_| by_slurm);
            told.or_else(|| self.mapped_clique())
                .or_else(|| self.placement.clique.clone())
                .unwrap_or_else(|| self.counted_clique())
        })
    }

    /// From `PMI_process_mapping`, if the launcher provided it.
    fn mapped_clique(&self) -> Option<Vec<u32>> {
        let Place { rank, size, .. } = self.place();
        let mut nodes = None;
        let mut read = |value: &[u8]| nodes = parse_mapping(&String::from_utf8_lossy(value), size);
        self.backend.job_attribute(PROCESS_MAPPING_KEY.as_bytes(), &mut read).ok()?;
        let nodes = nodes?;
        let own = nodes.get(rank as usize)?;
        Some((0..).zip(&nodes).filter(|(_, node)| *node == own).map(|(rank, _)| rank).collect())
    }

    /// Everybody, if all ranks are on one node; else this rank alone, which is always true of itself.
    fn counted_clique(&self) -> Vec<u32> {
        let Place { rank, size, .. } = self.place();
        match self.placement.local_size {
            Some(local) if local == size => (0..size).collect(),
            _ => vec![rank],
        }
    }

    /// Goes back to the first pair of a space, if it exists.
    pub fn rewind(&self, kvsname: &[u8]) -> Result<(), Failure> {
        self.backend.next_pair(kvsname, 0, &mut |_, _| ())?;
        lock(&self.cursors).insert(kvsname.to_vec(), 0);
        Ok(())
    }

    /// Writes the pair where the iteration of a space stands, then moves on; an empty key marks the end. A pair
    /// that cannot be written (buffers too short) is not passed by.
    pub fn next_pair(
        &self,
        kvsname: &[u8],
        write: impl Fn(&[u8], &[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut cursors = lock(&self.cursors);
        let Some(cursor) = cursors.get_mut(kvsname) else {
            return Err(self.not_rewound(kvsname));
        };
        let mut written = Ok(());
        let mut read = |key: &[u8], value: &[u8]| written = write(key, value);
        match self.backend.next_pair(kvsname, *cursor, &mut read)? {
            None => write(b"", b""),
            Some(next) => written.map(|()| *cursor = next),
        }
    }

    /// The failure of an iteration that was never begun.
    fn not_rewound(&self, kvsname: &[u8]) -> Failure {
        match self.backend.next_pair(kvsname, 0, &mut |_, _| ()) {
            Err(error) => error.into(),
            Ok(_) => {
                Failure::because("PMI_KVS_Iter_next without PMI_KVS_Iter_first on that kvsname")
            }
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `PMI_Abort`: tells the job and stderr, then exits. Works while another thread stands in a barrier. `call` is what the
/// program has called.
pub fn abort(call: &str, code: i32, text: Option<&str>) -> ! {
    say_abort(call, text);
    if let Some(member) = member() {
        member.backend.abort(code, text.unwrap_or_default());
    }
    std::process::exit(code)
}

/// `PMI2_Abort` of this process only: tells stderr, leaves the job, and exits with code 0, as in Slurm's library: with any
/// other code the launcher would end the job.
pub fn leave(call: &str, text: Option<&str>) -> ! {
    say_abort(call, text);
    if let Some(Err(error)) = member().map(|member| member.backend.finalize()) {
        tracing::debug!(%error, "the job was not told");
    }
    std::process::exit(0)
}

fn say_abort(call: &str, text: Option<&str>) {
    let message = text.map_or(call.to_owned(), |text| format!("{call}: {text}"));
    debug::say(message.trim_end());
}
