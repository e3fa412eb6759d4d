//! From a server's message to an answer.

use crate::attributes::{Attributes, open};
use crate::violation::excerpt;
use crate::{Dialect, Text, Violation};

use super::answer::{Answer, Maxima};
use super::call::Call;

/// Which answer a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Init,
    InitAck,
    FullInit,
    Maxes,
    Appnum,
    UniverseSize,
    MyName,
    Get,
    Attribute,
    NodeAttribute,
    Put,
    PutNodeAttribute,
    Ring,
    Finalize,
}

impl Expected {
    /// What `call` waits for; `None` if it is a barrier, or nothing.
    pub(super) fn by(call: &Call<'_>) -> Option<Self> {
        Some(match call {
            Call::Init => Self::Init,
            Call::InitAck { .. } => Self::InitAck,
            Call::FullInit { .. } => Self::FullInit,
            Call::Maxes => Self::Maxes,
            Call::Appnum => Self::Appnum,
            Call::UniverseSize => Self::UniverseSize,
            Call::MyName => Self::MyName,
            Call::Put { .. } => Self::Put,
            Call::Get { .. } => Self::Get,
            Call::JobAttribute { .. } => Self::Attribute,
            Call::GetNodeAttribute { .. } => Self::NodeAttribute,
            Call::PutNodeAttribute { .. } => Self::PutNodeAttribute,
            Call::Ring { .. } => Self::Ring,
            Call::Finalize => Self::Finalize,
            Call::Barrier | Call::Abort { .. } => return None,
        })
    }

    /// The command of that answer.
    fn command(self, dialect: Dialect) -> &'static str {
        match (self, dialect) {
            (Self::Init, _) => "response_to_init",
            (Self::InitAck, _) => "initack",
            (Self::FullInit, _) => "fullinit-response",
            (Self::Maxes, _) => "maxes",
            (Self::Appnum, _) => "appnum",
            (Self::UniverseSize, _) => "universe_size",
            (Self::MyName, Dialect::V1) => "my_kvsname",
            (Self::MyName, Dialect::V2) => "job-getid-response",
            (Self::Get, Dialect::V1) => "get_result",
            (Self::Get, Dialect::V2) => "kvs-get-response",
            (Self::Attribute, _) => "info-getjobattr-response",
            (Self::NodeAttribute, _) => "info-getnodeattr-response",
            (Self::Put, Dialect::V1) => "put_result",
            (Self::Put, Dialect::V2) => "kvs-put-response",
            (Self::PutNodeAttribute, _) => "info-putnodeattr-response",
            (Self::Ring, _) => "ring-response",
            (Self::Finalize, Dialect::V1) => "finalize_ack",
            (Self::Finalize, Dialect::V2) => "finalize-response",
        }
    }
}

fn barrier_command(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::V1 => "barrier_out",
        Dialect::V2 => "kvs-fence-response",
    }
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waiting {
    pub(super) answer: Option<Expected>,
    pub(super) barrier: bool,
    /// What the `set` lines after an `initack` have said so far.
    identity: Option<Parts>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    rank: Option<u32>,
    size: Option<u32>,
    debug: bool,
}

impl Parts {
    /// When all three are there.
    fn identity<'a>(self) -> Option<Answer<'a>> {
        let (rank, size) = self.rank.zip(self.size).filter(|_| self.debug)?;
        Some(Answer::Identity { rank, size, appnum: None, spawner: None })
    }
}

/// A message of the server.
pub(super) struct Got<'a> {
    dialect: Dialect,
    command: &'a [u8],
    attributes: Attributes<'a>,
}

impl<'a> Got<'a> {
    /// `dialect` is that of the message, which is PMI-1 for the first answer of a PMI-2 server.
    pub(super) fn new(dialect: Dialect, body: &'a [u8]) -> Result<Self, Violation> {
        let (command, attributes) = open(dialect, body)?;
        Ok(Self { dialect, command, attributes })
    }

    /// Whether the rc comes before all else, as Slurm and the servers of MPICH 4.1 and later write it.
    pub(super) fn rc_first(&self) -> bool {
        self.attributes.clone().next().is_some_and(|first| first.name == b"rc")
    }

    /// Whether it is but a part of an answer of several messages, the one to `initack`: noted, and more to come.
    pub(super) fn is_part(&self, waiting: &mut Waiting) -> Result<bool, Violation> {
        if let Some(parts) = &mut waiting.identity {
            self.note(parts)?;
            return Ok(parts.identity().is_none());
        }
        let begins = waiting.answer == Some(Expected::InitAck)
            && self.command == b"initack"
            && self.failed().is_none();
        if begins {
            waiting.identity = Some(Parts::default());
        }
        Ok(begins)
    }

    /// One of the lines `cmd=set size=…`, `cmd=set rank=…`, `cmd=set debug=…`.
    fn note(&self, parts: &mut Parts) -> Result<(), Violation> {
        if self.command != b"set" {
            return Err(self.unexpected("set"));
        }
        parts.rank = self.number("rank").or(parts.rank);
        parts.size = self.number("size").or(parts.size);
        parts.debug |= self.attributes.find("debug").is_some();
        Ok(())
    }

    /// What it answers.
    pub(super) fn answer(&self, waiting: &mut Waiting) -> Result<Answer<'a>, Violation> {
        if let Some(identity) = waiting.identity.take().and_then(|parts| parts.identity()) {
            waiting.answer = None;
            return Ok(identity);
        }
        if waiting.barrier && self.command == barrier_command(self.dialect).as_bytes() {
            waiting.barrier = false;
            return Ok(self.failed().unwrap_or(Answer::Barrier));
        }
        match waiting.answer {
            Some(asked) if asked.command(self.dialect).as_bytes() == self.command => {
                waiting.answer = None;
                self.read(asked)
            }
            Some(asked) => Err(self.unexpected(asked.command(self.dialect))),
            None if waiting.barrier => Err(self.unexpected(barrier_command(self.dialect))),
            None => Err(self.unexpected("to nothing: there was no call")),
        }
    }

    fn unexpected(&self, expected: &'static str) -> Violation {
        Violation::Unexpected { expected, got: excerpt(self.command) }
    }

    fn read(&self, asked: Expected) -> Result<Answer<'a>, Violation> {
        if let Some(failed) = self.failed() {
            return Ok(if self.is_not_found(asked) { Answer::NotFound } else { failed });
        }
        Ok(match asked {
            Expected::Init => self.init()?,
            Expected::FullInit => self.identity()?,
            Expected::Maxes => self.maxes()?,
            Expected::Appnum => Answer::Number(self.needed("appnum")?),
            Expected::UniverseSize => Answer::Number(self.needed("size")?),
            Expected::MyName if self.dialect == Dialect::V1 => Answer::Name(self.text("kvsname")?),
            Expected::MyName => Answer::Name(self.text("jobid")?),
            Expected::Get | Expected::Attribute | Expected::NodeAttribute => self.value()?,
            Expected::Ring => self.ring()?,
            Expected::InitAck | Expected::Put | Expected::PutNodeAttribute | Expected::Finalize => {
                Answer::Done
            }
        })
    }

    /// No rc is success: Hydra 4, gforker and Slurm's ring leave it out in some answers, Hydra 5 in `barrier_out`.
    fn failed(&self) -> Option<Answer<'a>> {
        let rc = self.attributes.number("rc").filter(|rc| *rc != 0)?;
        let text = self.attributes.text("msg").or_else(|| self.attributes.text("errmsg"));
        Some(Answer::Failed { rc, text: text.unwrap_or_default() })
    }

    /// Whether a failure says that there is no such key. Slurm and Hydra 5 give an rc and no word, Hydra 4 and gforker
    /// `key_…_not_found`; gforker names the kvsname there, but not with `kvs_` before it.
    fn is_not_found(&self, asked: Expected) -> bool {
        let asks = matches!(asked, Expected::Get | Expected::Attribute | Expected::NodeAttribute);
        let text = self.attributes.text("msg").or_else(|| self.attributes.text("errmsg"));
        asks && text.is_none_or(|text| text.starts_with(b"key_"))
    }

    fn init(&self) -> Result<Answer<'a>, Violation> {
        let version = self.needed("pmi_version")?;
        Ok(Answer::Init { version, subversion: self.needed("pmi_subversion")? })
    }

    fn identity(&self) -> Result<Answer<'a>, Violation> {
        let spawner = self.attributes.text("spawner-jobid");
        let (rank, size) = (self.needed("rank")?, self.needed("size")?);
        Ok(Answer::Identity { rank, size, appnum: self.number("appnum"), spawner })
    }

    fn maxes(&self) -> Result<Answer<'a>, Violation> {
        let (kvsname, key) = (self.needed("kvsname_max")?, self.needed("keylen_max")?);
        Ok(Answer::Maxes(Maxima { kvsname, key, value: self.needed("vallen_max")? }))
    }

    fn value(&self) -> Result<Answer<'a>, Violation> {
        if self.attributes.truth("found") == Some(false) {
            return Ok(Answer::NotFound);
        }
        Ok(Answer::Value(self.text("value")?))
    }

    fn ring(&self) -> Result<Answer<'a>, Violation> {
        let (left, right) = (self.text("ring-left")?, self.text("ring-right")?);
        Ok(Answer::Ring { count: self.needed("ring-count")?, left, right })
    }

    fn text(&self, attribute: &'static str) -> Result<Text<'a>, Violation> {
        let missing = || Violation::Missing { command: excerpt(self.command), attribute };
        self.attributes.text(attribute).ok_or_else(missing)
    }

    fn number<T: TryFrom<i64>>(&self, attribute: &str) -> Option<T> {
        self.attributes.number(attribute).and_then(|number| T::try_from(number).ok())
    }

    fn needed<T: TryFrom<i64>>(&self, attribute: &'static str) -> Result<T, Violation> {
        let found = self.text(attribute)?;
        let bad = || Violation::BadAttribute { attribute, found: excerpt(&found) };
        self.number(attribute).ok_or_else(bad)
    }
}
