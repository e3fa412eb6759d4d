//! From the attributes of a message to a request.

use crate::attributes::{Attributes, open};
use crate::violation::excerpt;
use crate::{Dialect, Text, Violation};

use super::request::Request;
use super::spawn;
use super::ticket::{Kind, Thread, Ticket};

/// The exit code of an abort that has none.
const ABORT_CODE: i32 = 1;

/// The request in the body of a message.
pub(super) fn parse(dialect: Dialect, body: &[u8]) -> Result<(Ticket, Request<'_>), Violation> {
    let (command, attributes) = open(dialect, body)?;
    let (kind, request) = Asked { command, attributes, body }.request()?;
    Ok((Ticket { dialect, kind, thread: thread(attributes)? }, request))
}

fn thread(attributes: Attributes<'_>) -> Result<Thread, Violation> {
    if attributes.dialect() == Dialect::V1 {
        return Ok(Thread::NONE);
    }
    match attributes.text("thrid") {
        None => Ok(Thread::NONE),
        Some(id) => Thread::new(&id).ok_or(Violation::ThreadIdTooLong),
    }
}

/// A message whose command is known.
struct Asked<'a> {
    command: &'a [u8],
    attributes: Attributes<'a>,
    body: &'a [u8],
}

type Answerable<'a> = Result<(Kind, Request<'a>), Violation>;

impl<'a> Asked<'a> {
    /// The commands of both dialects: none means different things in the two.
    fn request(&self) -> Answerable<'a> {
        match self.command {
            b"get" | b"kvs-get" => self.get(),
            b"put" | b"kvs-put" => self.put(),
            b"barrier_in" | b"kvs-fence" => self.barrier(),
            b"init" | b"initack" | b"fullinit" | b"finalize" | b"abort" => self.life(),
            b"publish_name" | b"name-publish" => self.publish(),
            b"unpublish_name" | b"name-unpublish" => {
                Ok((Kind::Unpublish, Request::Unpublish { service: self.service()? }))
            }
            b"lookup_name" | b"name-lookup" => {
                Ok((Kind::Lookup, Request::Lookup { service: self.service()? }))
            }
            b"spawn" => self.spawn(),
            _ => self.inquiry(),
        }
    }

    /// What asks about the group and its node.
    fn inquiry(&self) -> Answerable<'a> {
        Ok(match self.command {
            b"get_maxes" => (Kind::Maxes, Request::Maxes),
            b"get_appnum" => (Kind::Appnum, Request::Appnum),
            b"get_universe_size" => (Kind::UniverseSize, Request::UniverseSize),
            b"get_my_kvsname" | b"job-getid" => (Kind::MyName, Request::MyName),
            b"info-getjobattr" => {
                (Kind::JobAttribute, Request::JobAttribute { key: self.text("key")? })
            }
            b"info-getnodeattr" => (Kind::GetNodeAttribute, self.get_node_attribute()?),
            b"info-putnodeattr" => (Kind::PutNodeAttribute, self.put_node_attribute()?),
            b"ring" => (Kind::Ring, self.ring()?),
            _ => return self.seldom(),
        })
    }

    /// What only old or rare clients send.
    fn seldom(&self) -> Answerable<'a> {
        Ok(match self.command {
            b"getbyidx" => (Kind::GetByIndex, self.get_by_index()?),
            b"create_kvs" => (Kind::CreateSpace, Request::CreateSpace),
            b"destroy_kvs" => {
                (Kind::DestroySpace, Request::DestroySpace { space: self.text("kvsname")? })
            }
            b"job-connect" => (Kind::Connect, Request::Connect { job: self.text("jobid")? }),
            b"job-disconnect" => {
                (Kind::Disconnect, Request::Disconnect { job: self.text("jobid")? })
            }
            other => (Kind::Unknown, Request::Unknown { command: Text::Borrowed(other) }),
        })
    }

    fn life(&self) -> Answerable<'a> {
        Ok(match self.command {
            b"init" => {
                let version = self.number("pmi_version")?;
                let subversion = self.number("pmi_subversion")?;
                (Kind::Init { version }, Request::Init { version, subversion })
            }
            b"initack" => (Kind::InitAck, Request::InitAck { id: self.text("pmiid")? }),
            b"fullinit" => (Kind::FullInit, self.full_init()),
            b"finalize" => (Kind::Finalize, Request::Finalize),
            _ => (Kind::Abort, self.abort()),
        })
    }

    fn full_init(&self) -> Request<'a> {
        let names = ["pmirank", "srcid", "pmiid"];
        Request::FullInit {
            id: names.into_iter().find_map(|name| self.optional(name)),
            job: self.optional("pmijobid"),
            threaded: self.attributes.truth("threaded").unwrap_or(false),
        }
    }

    fn abort(&self) -> Request<'a> {
        let code = self.attributes.number("exitcode").and_then(|code| i32::try_from(code).ok());
        let message = self.optional("msg").or_else(|| self.optional("message"));
        Request::Abort {
            code: code.unwrap_or(ABORT_CODE),
            message: message.unwrap_or_default(),
            world: self.attributes.truth("isworld").unwrap_or(true),
        }
    }

    fn put(&self) -> Answerable<'a> {
        let (key, value) = (self.text("key")?, self.text("value")?);
        Ok((Kind::Put, Request::Put { space: self.space(), key, value }))
    }

    fn get(&self) -> Answerable<'a> {
        let source = self.attributes.number("srcid").and_then(|rank| u32::try_from(rank).ok());
        Ok((Kind::Get, Request::Get { space: self.space(), key: self.text("key")?, source }))
    }

    fn get_by_index(&self) -> Result<Request<'a>, Violation> {
        Ok(Request::GetByIndex { space: self.space(), index: self.number("idx")? })
    }

    fn barrier(&self) -> Answerable<'a> {
        Ok((Kind::Barrier, Request::Barrier { group: self.optional("group") }))
    }

    fn get_node_attribute(&self) -> Result<Request<'a>, Violation> {
        let wait = self.attributes.truth("wait").unwrap_or(false);
        Ok(Request::GetNodeAttribute { key: self.text("key")?, wait })
    }

    fn put_node_attribute(&self) -> Result<Request<'a>, Violation> {
        Ok(Request::PutNodeAttribute { key: self.text("key")?, value: self.text("value")? })
    }

    fn ring(&self) -> Result<Request<'a>, Violation> {
        let (left, right) = (self.text("ring-left")?, self.text("ring-right")?);
        Ok(Request::Ring { count: self.number("ring-count")?, left, right })
    }

    fn publish(&self) -> Answerable<'a> {
        let (service, port) = (self.service()?, self.text("port")?);
        Ok((Kind::Publish, Request::Publish { service, port }))
    }

    fn service(&self) -> Result<Text<'a>, Violation> {
        match self.attributes.dialect() {
            Dialect::V1 => self.text("service"),
            Dialect::V2 => self.text("name"),
        }
    }

    fn spawn(&self) -> Answerable<'a> {
        let spawn = match self.attributes.dialect() {
            Dialect::V1 => spawn::from_lines(self.body)?,
            Dialect::V2 => spawn::from_message(self.attributes)?,
        };
        Ok((Kind::Spawn, Request::Spawn(spawn)))
    }

    /// The kvsname or job id. NVSHMEM sends an empty one and means its own.
    fn space(&self) -> Option<Text<'a>> {
        let name = match self.attributes.dialect() {
            Dialect::V1 => "kvsname",
            Dialect::V2 => "jobid",
        };
        self.optional(name)
    }

    /// `None` if it is missing or empty.
    fn optional(&self, name: &str) -> Option<Text<'a>> {
        self.attributes.text(name).filter(|text| !text.is_empty())
    }

    fn text(&self, attribute: &'static str) -> Result<Text<'a>, Violation> {
        self.attributes.text(attribute).ok_or_else(|| self.missing(attribute))
    }

    fn number<T: TryFrom<i64>>(&self, attribute: &'static str) -> Result<T, Violation> {
        let found = self.text(attribute)?;
        let number = self.attributes.number(attribute).and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| Violation::BadAttribute { attribute, found: excerpt(&found) })
    }

    fn missing(&self, attribute: &'static str) -> Violation {
        Violation::Missing { command: excerpt(self.command), attribute }
    }
}
