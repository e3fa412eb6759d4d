//! Calls and answers over one connection, from any thread: one call at a time, and an abort at any time.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use pmi_wire::client::{Answer, Call, Client, Unsendable};
use pmi_wire::{Dialect, Violation};

use super::connection::{Broken, Connection};
use crate::debug;
use crate::error::BackendError;

/// After this time without an answer a person is told what is waited for.
const NOTICE_AFTER: Duration = Duration::from_secs(10);

/// How long an abort tries to reach the server; then the process exits all the same, which the starter sees.
const ABORT_PATIENCE: Duration = Duration::from_secs(2);

/// How long an abort waits between two looks whether another thread has written its message.
const ABORT_PAUSE: Duration = Duration::from_millis(1);

/// Bytes of a key that a message shows: a whole key of the wire protocol.
const EXCERPT_MAX: usize = 64;

/// A conversation with a server.
pub(super) struct Talk {
    connection: Connection,
    dialect: Dialect,
    timeout: Option<Duration>,
    state: Mutex<State>,
    /// Held while a message is written, and only then: whoever holds it never waits for an answer.
    sending: Mutex<()>,
}

struct State {
    client: Client,
    out: Vec<u8>,
    barrier: Barrier,
    /// Why there is nothing to be had from this server any more.
    over: Option<BackendError>,
    server: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Barrier {
    Outside,
    Entered,
    Open,
}

/// How long to wait for one answer.
struct Patience {
    deadline: Option<Instant>,
    /// When to tell a person; `None` if that is done, or is not wanted.
    notice: Option<Instant>,
}

impl Patience {
    fn new(timeout: Option<Duration>, notice: bool) -> Patience {
        let now = Instant::now();
        Patience {
            deadline: timeout.map(|timeout| now + timeout),
            notice: notice.then(|| now + NOTICE_AFTER),
        }
    }

    /// For what is there already, or not.
    fn none() -> Patience {
        Patience { deadline: Some(Instant::now()), notice: None }
    }

    fn next(&self) -> Option<Instant> {
        [self.deadline, self.notice].into_iter().flatten().min()
    }

    fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// The start of a key, for a message.
pub(super) struct Excerpt<'a>(pub &'a [u8]);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(EXCERPT_MAX)];
        let more = if shown.len() < self.0.len() { "…" } else { "" };
        write!(f, "{}{more}", shown.escape_ascii())
    }
}

/// What is waited for, in words.
struct Asked<'a>(&'a Call<'a>);

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |key: &[u8]| format!("'{}'", Excerpt(key));
        match self.0 {
            Call::Put { key, .. } => write!(f, "a put of {}", quoted(key)),
            Call::Get { key, .. } => write!(f, "a get of {}", quoted(key)),
            Call::JobAttribute { key } => write!(f, "job attribute {}", quoted(key)),
            Call::PutNodeAttribute { key, .. } | Call::GetNodeAttribute { key, .. } => {
                write!(f, "node attribute {}", quoted(key))
            }
            Call::Barrier => f.write_str("a barrier"),
            Call::Finalize => f.write_str("the end of this rank"),
            _ => f.write_str("this rank's entry into the job"),
        }
    }
}

impl Talk {
    pub(super) fn new(connection: Connection, dialect: Dialect, timeout: Option<Duration>) -> Talk {
        let state = State {
            client: Client::new(dialect),
            out: Vec::new(),
            barrier: Barrier::Outside,
            over: None,
            server: "unknown",
        };
        Talk { connection, dialect, timeout, state: Mutex::new(state), sending: Mutex::new(()) }
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Calls the server by this name from now on, and never sends it more than `line_max` bytes at once.
    pub(super) fn know(&self, server: &'static str, line_max: Option<usize>) {
        let mut state = lock(&self.state);
        state.server = server;
        if let Some(bytes) = line_max {
            state.client.limit_messages(bytes);
        }
    }

    /// Makes a call and has its answer read; `read` returns `None` for an answer that it does not expect.
    ///
    /// A barrier under way is waited for first: between its entry and its opening Hydra 4.0.2 loses a put, Intel's
    /// Hydra breaks off, and Slurm does not answer.
    pub(super) fn ask<R>(
        &self,
        call: &Call<'_>,
        mut read: impl FnMut(&Answer<'_>) -> Option<R>,
    ) -> Result<R, BackendError> {
        let mut state = self.enter()?;
        self.leave_barrier(&mut state, true)?;
        self.write(&mut state, call)?;
        let blocks = matches!(call, Call::GetNodeAttribute { wait: true, .. });
        let mut patience = Patience::new(self.timeout, !blocks);
        loop {
            let server = state.server;
            match state.client.next() {
                Ok(Some(answer)) => {
                    return read(&answer).ok_or_else(|| self.refused(server, call, &answer));
                }
                Ok(None) => {
                    if !self.fill(&mut state, call, &mut patience)? {
                        return Err(self.late(&mut state, call));
                    }
                }
                Err(violation) => return Err(self.misunderstood(&mut state, call, &violation)),
            }
        }
    }

    /// Enters a barrier. Does not wait in it.
    pub(super) fn enter_barrier(&self) -> Result<(), BackendError> {
        let mut state = self.enter()?;
        self.write(&mut state, &Call::Barrier)?;
        state.barrier = Barrier::Entered;
        Ok(())
    }

    /// Has the barrier that was entered opened? Does not wait.
    pub(super) fn test_barrier(&self) -> Result<bool, BackendError> {
        let mut state = self.enter()?;
        self.pass(&mut state, &mut Patience::none())
    }

    /// Waits in the barrier that was entered. Success if none was.
    pub(super) fn finish_barrier(&self, tells: bool) -> Result<(), BackendError> {
        let mut state = self.enter()?;
        self.leave_barrier(&mut state, tells)?;
        state.barrier = Barrier::Outside;
        Ok(())
    }

    fn leave_barrier(&self, state: &mut State, tells: bool) -> Result<(), BackendError> {
        match self.pass(state, &mut Patience::new(self.timeout, tells))? {
            true => Ok(()),
            false => Err(self.late(state, &Call::Barrier)),
        }
    }

    /// Takes what comes in until no barrier is waited for; false if patience ends first.
    fn pass(&self, state: &mut State, patience: &mut Patience) -> Result<bool, BackendError> {
        loop {
            if state.barrier != Barrier::Entered {
                return Ok(true);
            }
            let server = state.server;
            match state.client.next() {
                Ok(Some(Answer::Barrier)) => state.barrier = Barrier::Open,
                Ok(Some(answer)) => return Err(self.refused(server, &Call::Barrier, &answer)),
                Ok(None) => {
                    if !self.fill(state, &Call::Barrier, patience)? {
                        return Ok(false);
                    }
                }
                Err(violation) => {
                    return Err(self.misunderstood(state, &Call::Barrier, &violation));
                }
            }
        }
    }

    /// Tells the server that the job is over, even while another thread waits for an answer.
    pub(super) fn abort(&self, code: i32, message: &[u8]) {
        let mut out = Vec::new();
        if Client::new(self.dialect).write(&Call::Abort { code, message }, &mut out).is_err() {
            return;
        }
        let deadline = Instant::now() + ABORT_PATIENCE;
        let _sending = loop {
            match self.sending.try_lock() {
                Ok(guard) => break guard,
                Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
                // A message that is stuck half-way would be continued by ours.
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return,
                Err(TryLockError::WouldBlock) => std::thread::sleep(ABORT_PAUSE),
            }
        };
        if let Err(broken) = self.connection.send(&out, Some(deadline)) {
            tracing::debug!("PMI_Abort cannot be told: the server {broken}");
        }
    }

    /// Has the server gone, as far as can be seen without a call?
    pub(super) fn is_gone(&self) -> bool {
        match self.state.try_lock() {
            Ok(state) => state.over.is_some() || self.connection.is_closed(),
            Err(_) => false,
        }
    }

    fn enter(&self) -> Result<MutexGuard<'_, State>, BackendError> {
        let state = lock(&self.state);
        match &state.over {
            Some(error) => Err(error.clone()),
            None => Ok(state),
        }
    }

    fn write(&self, state: &mut State, call: &Call<'_>) -> Result<(), BackendError> {
        let State { client, out, server, .. } = &mut *state;
        out.clear();
        client.write(call, out).map_err(|error| self.unsendable(server, call, &error))?;
        let deadline = Patience::new(self.timeout, false).deadline;
        let sending = lock(&self.sending);
        let sent = self.connection.send(out, deadline);
        drop(sending);
        match sent {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.late(state, call)),
            Err(broken) => Err(self.gone(state, call, broken)),
        }
    }

    /// Waits for more bytes; false if patience ends first.
    fn fill(
        &self,
        state: &mut State,
        call: &Call<'_>,
        patience: &mut Patience,
    ) -> Result<bool, BackendError> {
        loop {
            match self.connection.receive(state.client.room(), patience.next()) {
                Ok(Some(received)) => {
                    state.client.advance(received);
                    return Ok(true);
                }
                Ok(None) if patience.is_over() => return Ok(false),
                Ok(None) => {
                    patience.notice = None;
                    let server = self.describe(state.server);
                    debug::say(&format!("{} is still waiting for {server}", Asked(call)));
                }
                Err(broken) => return Err(self.gone(state, call, broken)),
            }
        }
    }

    fn describe(&self, server: &str) -> String {
        format!("the PMI server at {} ({server})", self.connection.name())
    }

    /// The conversation is over: what comes later would be taken for the answer to another call.
    fn late(&self, state: &mut State, call: &Call<'_>) -> BackendError {
        let seconds = self.timeout.unwrap_or_default().as_secs();
        let server = self.describe(state.server);
        state.end(BackendError::Timeout(format!(
            "{server} has not answered {} within the {seconds} s of PMI_TIMEOUT",
            Asked(call)
        )))
    }

    fn gone(&self, state: &mut State, call: &Call<'_>, broken: Broken) -> BackendError {
        let server = self.describe(state.server);
        state.end(BackendError::Over(format!(
            "{server} {broken} during {}: it has ended the job or could not go on; the starter's own messages say why",
            Asked(call)
        )))
    }

    fn misunderstood(
        &self,
        state: &mut State,
        call: &Call<'_>,
        violation: &Violation,
    ) -> BackendError {
        let server = self.describe(state.server);
        state.end(BackendError::Over(format!(
            "{server} breaks the protocol in its answer to {}: {violation}",
            Asked(call)
        )))
    }

    fn refused(&self, server: &str, call: &Call<'_>, answer: &Answer<'_>) -> BackendError {
        let server = self.describe(server);
        let what = match answer {
            Answer::Failed { rc, text } => format!("rc={rc} {}", text.escape_ascii()),
            other => format!("an answer that does not fit: {other:?}"),
        };
        BackendError::Refused(format!("{server} refused {}: {}", Asked(call), what.trim_end()))
    }

    /// What cannot be sent cannot have been put either.
    fn unsendable(&self, server: &str, call: &Call<'_>, error: &Unsendable) -> BackendError {
        let asks = matches!(
            call,
            Call::Get { .. } | Call::JobAttribute { .. } | Call::GetNodeAttribute { .. }
        );
        if asks && matches!(error, Unsendable::Byte { .. } | Unsendable::Empty { .. }) {
            return BackendError::NoSuchKey;
        }
        BackendError::Refused(format!(
            "{} is refused: {error}. It is {server}, at {}",
            Asked(call),
            self.connection.name()
        ))
    }
}

impl State {
    fn end(&mut self, error: BackendError) -> BackendError {
        self.over.insert(error).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
