//! The server state machine: datagrams of all groups in, datagrams and events out.

mod group;
mod lost;
mod node;

use std::collections::HashMap;

use crate::datagram::{
    Datagram, Header, Kind, Outbox, REFUSED, decode, decode_hello, encode_reason,
};
use crate::exchange::Peer;
use crate::key::{Direction, Keys, Secret, group_number};
use crate::limits::{JOB_NAME_MAX, KEY_MAX, LOG_CEILING_MAX, LOG_CEILING_MIN, SIZE_MAX, VALUE_MAX};
use crate::log::{GroupSpec, Log, LogError, LogMemory};
use crate::pace::Micros;
use crate::ranks::{RankRange, RankRanges};
use group::Group;

/// What the server tells whoever runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A rank called `PMI_Abort`.
    Abort {
        /// Job name of the group.
        group: String,
        /// The rank.
        rank: u32,
        /// Its host, where known.
        host: Option<String>,
        /// Its exit code.
        code: i32,
        /// Its message.
        text: String,
    },
    /// The group is over for another reason.
    Fault {
        /// Job name of the group.
        group: String,
        /// The rank at fault, if there is one.
        rank: Option<u32>,
        /// A host does not answer any more: whoever ends the job need not wait for it.
        unanswered: bool,
        /// What happened and what to do.
        text: String,
    },
    /// A node was turned away; the group goes on.
    Refused {
        /// Job name of the group, if there is such a group.
        group: Option<String>,
        /// What happened and what to do.
        text: String,
    },
    /// A barrier waits for long.
    Stalled {
        /// Job name of the group.
        group: String,
        /// The barrier, counted from 1.
        barrier: u32,
        /// Time since its first arrival.
        waited: Micros,
        /// The ranks it waits for.
        missing: RankRanges,
        /// Hosts of those missing ranks that have joined.
        hosts: Vec<String>,
    },
    /// A node's host does not answer any more. The group goes on until a barrier waits.
    Lost {
        /// Job name of the group.
        group: String,
        /// Which host, with which ranks, and what follows.
        text: String,
    },
    /// Every rank has finalized.
    Finalized {
        /// Job name of the group.
        group: String,
    },
}

/// Counters since the server's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams accepted.
    pub datagrams_in: u64,
    /// Bytes of the datagrams accepted.
    pub bytes_in: u64,
    /// Datagrams dropped: malformed, forged, or about nothing we know.
    pub dropped: u64,
    /// Datagrams that said nothing new.
    pub repeated: u64,
    /// Barriers released.
    pub barriers: u64,
    /// Nodes seen.
    pub nodes: u64,
}

/// Why a group cannot be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupError {
    /// The name is empty, too long, or has characters that some PMI client cannot carry.
    Name,
    /// There is a group of this name.
    Exists,
    /// The size is zero or beyond `SIZE_MAX`.
    Size(u32),
    /// The ceiling is outside `LOG_CEILING_MIN..=LOG_CEILING_MAX`.
    Ceiling(u64),
    /// A first pair is beyond the limits of keys and values.
    Pair(String),
    /// The log cannot be opened.
    Log(LogError),
}

impl std::fmt::Display for GroupError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            GroupError::Name => write!(
                f,
                "the job name must have 1 to {JOB_NAME_MAX} printable ASCII characters, and none of space = ; / in it"
            ),
            GroupError::Exists => write!(f, "a group of this name exists; choose another job name"),
            GroupError::Size(size) => write!(f, "size {size} is not in 1 to {SIZE_MAX}"),
            GroupError::Ceiling(bytes) => write!(
                f,
                "log ceiling {bytes} is not in {LOG_CEILING_MIN} to {LOG_CEILING_MAX} bytes"
            ),
            GroupError::Pair(key) => write!(
                f,
                "pair {key}: a key has 1 to {KEY_MAX} bytes and a value at most {VALUE_MAX}"
            ),
            GroupError::Log(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for GroupError {}

/// What a group needs of its server while it handles one datagram.
pub(crate) struct Context<'a, P> {
    pub now: Micros,
    pub keys: &'a Keys,
    pub incarnation: u32,
    /// Does the server accept lifelines?
    pub listens: bool,
    pub counters: &'a mut Counters,
    pub events: &'a mut Vec<Event>,
    pub out: &'a mut Outbox<P>,
}

impl<P: Peer> Context<'_, P> {
    pub fn send(&mut self, to: P, header: Header, ranges: &[RankRange], bytes: &[u8]) {
        let header = Header { incarnation: self.incarnation, ..header };
        self.out.push(to, self.keys, &header, ranges, bytes);
    }

    /// Turns a node away and tells the launcher.
    pub fn refuse(&mut self, to: P, about: &Header, group: Option<&str>, text: &str) {
        let header = Header { kind: Kind::Fault, flags: REFUSED, ..*about };
        self.send(to, header, &[], &encode_reason(1, text));
        self.events.push(Event::Refused { group: group.map(str::to_owned), text: text.to_owned() });
    }
}

/// The server of a job.
#[derive(Debug)]
pub struct Server<M, P> {
    keys: Keys,
    incarnation: u32,
    listens: bool,
    groups: HashMap<u64, Group<M, P>>,
    expected: HashMap<u64, Expected<M>>,
    counters: Counters,
}

/// A group that its first node opens, because only its ranks know how many they are.
#[derive(Debug)]
struct Expected<M> {
    memory: M,
    name: String,
    ceiling: u64,
    /// The launcher saw this rank fail before any node was heard of: code and text.
    failed: Option<(u32, i32, String)>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(…)")
    }
}

impl<M: LogMemory, P: Peer> Server<M, P> {
    /// A server without groups. `incarnation` is 1 at first and must grow with each restart on the same logs.
    pub fn new(secret: &Secret, incarnation: u32) -> Self {
        let keys = Keys::derive(secret);
        let (groups, expected) = (HashMap::new(), HashMap::new());
        let counters = Counters::default();
        Server { keys, incarnation, listens: false, groups, expected, counters }
    }

    /// From now on nodes are told that lifelines are accepted.
    pub fn listen(&mut self) {
        self.listens = true;
    }

    /// A connection has been accepted from here ([`Peer::at_port`]). True if it is a node's lifeline. If not, the datagram
    /// that says so may still be under way: ask again.
    pub fn connected(&mut self, line: P) -> bool {
        self.groups.values_mut().any(|group| group.connected(line))
    }

    /// The connection has ended, and its node says which one follows. If its host has stopped to answer, as the kernel
    /// sees it (`ETIMEDOUT`, `EHOSTUNREACH`), the node is lost until it is heard of again: barriers do not wait for it.
    /// The end of a connection by its other side says nothing: a process has ended.
    pub fn disconnected(&mut self, now: Micros, line: P, unanswered: bool) {
        self.groups.values_mut().for_each(|group| group.disconnected(now, line, unanswered));
    }

    /// Adds a process group whose log is in `memory`: a new one that begins with `puts` if that is empty, else
    /// the one found there.
    pub fn add_group(
        &mut self,
        memory: M,
        spec: GroupSpec,
        puts: &[(String, String)],
    ) -> Result<(), GroupError> {
        check(&spec, puts)?;
        let number = group_number(&spec.name);
        if self.has_group(&spec.name) {
            return Err(GroupError::Exists);
        }
        let log = Log::open(memory, spec, puts).map_err(GroupError::Log)?;
        self.groups.insert(number, Group::new(log));
        Ok(())
    }

    /// Expects a process group of unknown size, whose log will be in the empty `memory`: the Hello of its first node
    /// tells the size, and opens it. A Hello that tells another size is refused from then on.
    pub fn expect_group(&mut self, memory: M, name: &str, ceiling: u64) -> Result<(), GroupError> {
        let spec = GroupSpec { name: name.to_owned(), size: 1, ceiling };
        check(&spec, &[])?;
        if self.has_group(name) {
            return Err(GroupError::Exists);
        }
        let expected = Expected { memory, name: spec.name, ceiling, failed: None };
        self.expected.insert(group_number(name), expected);
        Ok(())
    }

    /// Is there a group of this name, or is one expected?
    pub fn has_group(&self, name: &str) -> bool {
        let number = group_number(name);
        self.groups.contains_key(&number) || self.expected.contains_key(&number)
    }

    /// Handles one datagram; answers and consequences go to `out` and `events`.
    pub fn handle(
        &mut self,
        now: Micros,
        from: P,
        bytes: &[u8],
        out: &mut Outbox<P>,
        events: &mut Vec<Event>,
    ) {
        let Ok(datagram) = decode(&self.keys, Direction::Up, bytes) else {
            self.counters.dropped += 1;
            return;
        };
        self.counters.datagrams_in += 1;
        self.counters.bytes_in += bytes.len() as u64;
        if !self.expected.is_empty() && !self.open_expected(&datagram) {
            // Nothing comes of it. Who means it says it again, after a Hello.
            self.counters.repeated += 1;
            return;
        }
        self.dispatch(now, from, &datagram, out, events);
    }

    /// Opens the group of a first Hello. False if the datagram is for a group that it cannot open: a node that has not
    /// introduced itself says so again, and a size that no group can have is none of our clients'.
    fn open_expected(&mut self, datagram: &Datagram) -> bool {
        let number = datagram.header.group;
        let Some(Expected { name, ceiling, .. }) = self.expected.get(&number) else { return true };
        let hello = (datagram.header.kind == Kind::Hello).then(|| decode_hello(datagram.bytes));
        let Some((size, _)) = hello.flatten() else { return false };
        let spec = GroupSpec { name: name.clone(), size, ceiling: *ceiling };
        if check(&spec, &[]).is_err() {
            return false;
        }
        let Some(Expected { memory, failed, .. }) = self.expected.remove(&number) else {
            return false;
        };
        let Ok(log) = Log::open(memory, spec, &[]) else { return false };
        let mut group = Group::new(log);
        if let Some((rank, code, text)) = failed {
            group.condemn(Some(rank), code, &text);
        }
        self.groups.insert(number, group);
        true
    }

    fn dispatch(
        &mut self,
        now: Micros,
        from: P,
        datagram: &Datagram,
        out: &mut Outbox<P>,
        events: &mut Vec<Event>,
    ) {
        let (groups, mut context) = self.context(now, out, events);
        match groups.get_mut(&datagram.header.group) {
            Some(group) => group.handle(&mut context, from, datagram),
            None => context.refuse(
                from,
                &datagram.header,
                None,
                "the server has no job of this name: PMI_KVS_JOB and PMI_KVS_SERVER come from different jobs",
            ),
        }
    }

    fn with_group(
        &mut self,
        now: Micros,
        name: &str,
        out: &mut Outbox<P>,
        events: &mut Vec<Event>,
        act: impl FnOnce(&mut Group<M, P>, &mut Context<P>),
    ) -> bool {
        let (groups, mut context) = self.context(now, out, events);
        let group = groups.get_mut(&group_number(name));
        group.map(|group| act(group, &mut context)).is_some()
    }

    /// The launcher saw a rank fail: the group is over. False if there is no such group.
    pub fn fail(
        &mut self,
        now: Micros,
        name: &str,
        rank: u32,
        reason: (i32, &str),
        out: &mut Outbox<P>,
    ) -> bool {
        if let Some(expected) = self.expected.get_mut(&group_number(name)) {
            expected.failed.get_or_insert((rank, reason.0, reason.1.to_owned()));
            return true;
        }
        let mut events = Vec::new();
        self.with_group(now, name, out, &mut events, |group, context| {
            group.fail(context, Some(rank), reason.0, reason.1);
        })
    }

    /// The launcher saw a rank exit with code 0. If it had joined over a private board and has not
    /// finalized, the group is over. False if there is no such group.
    pub fn exited(
        &mut self,
        now: Micros,
        name: &str,
        rank: u32,
        out: &mut Outbox<P>,
        events: &mut Vec<Event>,
    ) -> bool {
        self.expected.contains_key(&group_number(name))
            || self.with_group(now, name, out, events, |group, context| group.exited(context, rank))
    }

    /// When to call `tick` next, if ever.
    pub fn due(&self) -> Option<Micros> {
        self.groups.values().filter_map(Group::due).min()
    }

    /// Reports the barriers that have waited for long by `now`, and ends those that wait for a node that is lost.
    pub fn tick(&mut self, now: Micros, out: &mut Outbox<P>, events: &mut Vec<Event>) {
        let (groups, mut context) = self.context(now, out, events);
        groups.values_mut().for_each(|group| group.tick(&mut context));
    }

    fn context<'a>(
        &'a mut self,
        now: Micros,
        out: &'a mut Outbox<P>,
        events: &'a mut Vec<Event>,
    ) -> (&'a mut HashMap<u64, Group<M, P>>, Context<'a, P>) {
        let Server { keys, incarnation, listens, groups, counters, .. } = self;
        let (incarnation, listens) = (*incarnation, *listens);
        (groups, Context { now, keys, incarnation, listens, counters, events, out })
    }

    /// Counters since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Bytes of all logs.
    pub fn log_bytes(&self) -> u64 {
        self.groups.values().map(Group::log_bytes).sum()
    }
}

/// Are a group's name, size, ceiling and first pairs within their limits?
pub fn check(spec: &GroupSpec, puts: &[(String, String)]) -> Result<(), GroupError> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"=;/".contains(&byte);
    if !(1..=JOB_NAME_MAX).contains(&spec.name.len()) || !spec.name.bytes().all(allowed) {
        return Err(GroupError::Name);
    }
    if !(1..=SIZE_MAX).contains(&spec.size) {
        return Err(GroupError::Size(spec.size));
    }
    if !(LOG_CEILING_MIN..=LOG_CEILING_MAX).contains(&spec.ceiling) {
        return Err(GroupError::Ceiling(spec.ceiling));
    }
    let fits = |(key, value): &&(String, String)| {
        (1..=KEY_MAX).contains(&key.len()) && value.len() <= VALUE_MAX
    };
    match puts.iter().find(|pair| !fits(pair)) {
        Some((key, _)) => Err(GroupError::Pair(key.clone())),
        None => Ok(()),
    }
}
