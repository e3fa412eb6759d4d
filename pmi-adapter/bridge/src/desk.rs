//! What is asked, and what is answered: the ranks' requests, without their sockets.

mod attributes;

use std::fmt::Display;
use std::io::{self, Write};

use pmi_board::session::{Ensemble, Error, MemberId};
use pmi_protocol::mapping::PROCESS_MAPPING_KEY;
use pmi_wire::Dialect;
use pmi_wire::server::{Reply, Request, Ticket, write};

use crate::plan::{Seat, Way};
use crate::ring::Ring;
use attributes::AttributeWait;

/// PMI-2's name of the universe size.
const UNIVERSE_SIZE: &[u8] = b"universeSize";

/// Number of a connection.
pub type ClientId = usize;

/// Takes the rank, code and text of an abort.
pub type Report = Box<dyn FnMut(u32, i32, &str)>;

/// What a connection is, as far as its requests change it.
pub struct Visit<'a> {
    /// The connection.
    pub client: ClientId,
    /// The seat of the rank that speaks here.
    pub seat: &'a mut Option<usize>,
    /// The dialect that its `init` asked for.
    pub dialect: &'a mut Dialect,
    /// Where answers go.
    pub out: &'a mut Vec<u8>,
}

/// What to do with a connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Take its next request.
    Go,
    /// Close it.
    Close,
    /// Close it: it has not shown a `PMI_ID` that we gave out.
    Distrust,
}

/// An answer that comes later.
pub struct Late {
    /// The connection it goes to.
    pub client: ClientId,
    /// The request it belongs to.
    pub ticket: Ticket,
    /// What it says.
    pub answer: Answer,
}

/// A [`Reply`] that owns what it says.
pub enum Answer {
    /// The client has joined; PMI-1.
    Init,
    /// The client has joined; PMI-2.
    Identity { rank: u32, appnum: u32 },
    /// It is done.
    Done,
    /// An attribute has been put.
    Value(Vec<u8>),
    /// The ring is closed.
    Ring { count: i32, left: Vec<u8>, right: Vec<u8> },
    /// It could not be done.
    Failed(String),
}

/// What a rank waits for, together with all others.
enum Wait {
    Join,
    Barrier,
    Ring(Ring),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has not said a word.
    Absent,
    /// It is a member of the job.
    Joined,
    /// It has left in order, or its process has ended.
    Gone,
}

struct SeatState {
    rank: u32,
    appnum: u32,
    /// What stands in its `PMI_ID`.
    id: Option<u32>,
    stage: Stage,
    member: Option<MemberId>,
    waits: Option<(ClientId, Ticket, Wait)>,
    rings: u32,
}

/// The ranks and their job.
pub struct Desk {
    ensemble: Ensemble,
    size: u32,
    universe_size: u32,
    /// `PMI_process_mapping`, where nobody has provided one.
    mapping: String,
    seats: Vec<SeatState>,
    /// The seat of each member, in the order of joining.
    seat_of: Vec<usize>,
    attribute_waits: Vec<AttributeWait>,
    late: Vec<Late>,
    /// Has a request changed what the job waits for?
    stirred: bool,
    last_left: bool,
    /// Tells a launcher of an abort: rank, code, text.
    pub report_abort: Option<Report>,
}

impl Desk {
    /// A desk for these seats of a job of `size` ranks.
    pub fn new(
        ensemble: Ensemble,
        seats: &[Seat],
        size: u32,
        universe_size: u32,
        mapping: String,
    ) -> Desk {
        let seats = seats.iter().map(|seat| SeatState {
            rank: seat.rank,
            appnum: seat.appnum,
            id: if let Way::Id(id) = seat.way { Some(id) } else { None },
            stage: Stage::Absent,
            member: None,
            waits: None,
            rings: 0,
        });
        Desk {
            ensemble,
            size,
            universe_size,
            mapping,
            seats: seats.collect(),
            seat_of: Vec::new(),
            attribute_waits: Vec::new(),
            late: Vec::new(),
            stirred: false,
            last_left: false,
            report_abort: None,
        }
    }

    /// The job's session.
    pub fn ensemble(&mut self) -> &mut Ensemble {
        &mut self.ensemble
    }

    /// The seat of a rank.
    pub fn seat(&self, rank: u32) -> Option<usize> {
        self.seats.iter().position(|seat| seat.rank == rank)
    }

    /// Is it time to [`advance`](Self::advance)? Once for each time that it is.
    pub fn take_stirred(&mut self) -> bool {
        std::mem::take(&mut self.stirred)
    }

    /// Has anybody joined, and not left?
    pub fn has_members(&self) -> bool {
        self.seats.iter().any(|seat| seat.stage == Stage::Joined)
    }

    /// Have all ranks of this node left, and does the server not know yet?
    pub fn take_last_left(&mut self) -> bool {
        std::mem::take(&mut self.last_left)
    }

    /// The rank in a seat.
    pub fn rank(&self, seat: usize) -> u32 {
        self.seats[seat].rank
    }

    /// Answers a request, now or later.
    pub fn handle(&mut self, visit: &mut Visit<'_>, ticket: Ticket, request: Request<'_>) -> Next {
        let Some(seat) = *visit.seat else { return self.introduce(visit, ticket, &request) };
        match request {
            Request::Init { version: 1, .. } => {
                return self.join(visit, seat, ticket);
            }
            Request::Init { .. } => {
                *visit.dialect = Dialect::V2;
                write(ticket, &Reply::Init, visit.out);
            }
            Request::InitAck { ref id } | Request::FullInit { id: Some(ref id), .. }
                if !self.is_called(seat, id) =>
            {
                let text = format!("{} is not this rank's", String::from_utf8_lossy(id));
                self.refuse(visit, seat, ticket, &text);
            }
            Request::InitAck { .. } => self.identify(visit, seat, ticket),
            Request::FullInit { .. } => return self.join(visit, seat, ticket),
            Request::Maxes => write(ticket, &Reply::Maxes, visit.out),
            Request::Appnum => {
                write(ticket, &Reply::Number(self.seats[seat].appnum.into()), visit.out);
            }
            Request::UniverseSize => {
                write(ticket, &Reply::Number(self.universe_size.into()), visit.out);
            }
            Request::MyName => {
                write(ticket, &Reply::Name(self.ensemble.kvsname().as_bytes()), visit.out);
            }
            request => return self.handle_member(visit, seat, ticket, request),
        }
        Next::Go
    }

    /// Requests that only a member of the job may make.
    fn handle_member(
        &mut self,
        visit: &mut Visit<'_>,
        seat: usize,
        ticket: Ticket,
        request: Request<'_>,
    ) -> Next {
        let Some(member) = self.member(seat) else {
            let text = match self.seats[seat].stage {
                Stage::Absent => "PMI has not been initialised: 'init' comes first",
                _ => "this rank has left its job with 'finalize' and cannot come back",
            };
            self.refuse(visit, seat, ticket, text);
            return Next::Go;
        };
        self.stirred |= !matches!(request, Request::Put { .. } | Request::Get { .. });
        match request {
            Request::Put { space, key, value } => {
                let done = self
                    .own_space(space.as_deref())
                    .and_then(|()| self.ensemble.put(member, &key, &value));
                self.finish_put(visit, seat, ticket, &key, done);
            }
            Request::Get { space, key, .. } => {
                self.get(visit, member, ticket, space.as_deref(), &key);
            }
            Request::JobAttribute { key } if *key == *UNIVERSE_SIZE => {
                let size = self.universe_size.to_string();
                write(ticket, &Reply::Value(size.as_bytes()), visit.out);
            }
            Request::JobAttribute { key } => self.get(visit, member, ticket, None, &key),
            Request::Barrier { .. } => self.enter(visit, seat, ticket, Wait::Barrier),
            Request::Ring { count, left, right } => {
                self.ring(visit, seat, ticket, count, &left, &right)
            }
            Request::PutNodeAttribute { key, value } => {
                self.put_attribute(visit, seat, ticket, &key, &value);
            }
            Request::GetNodeAttribute { key, wait } => {
                self.get_attribute(visit, seat, ticket, &key, wait);
            }
            Request::Finalize => self.finalize(visit, seat, member, ticket),
            Request::Abort { code, message, world } => {
                self.seats[seat].stage = Stage::Gone;
                if world {
                    self.abort(seat, member, code, &message);
                }
            }
            other => self.refuse(visit, seat, ticket, unsupported(&other)),
        }
        Next::Go
    }

    fn member(&self, seat: usize) -> Option<MemberId> {
        let seat = &self.seats[seat];
        seat.member.filter(|_| seat.stage == Stage::Joined)
    }

    /// A connection made through `PMI_PORT` has to show the `PMI_ID` that one of the ranks was given.
    fn introduce(&mut self, visit: &mut Visit<'_>, ticket: Ticket, request: &Request<'_>) -> Next {
        let id = match request {
            Request::Init { version: 2, .. } => {
                *visit.dialect = Dialect::V2;
                write(ticket, &Reply::Init, visit.out);
                return Next::Go;
            }
            Request::InitAck { id } | Request::FullInit { id: Some(id), .. } => id,
            _ => return Next::Distrust,
        };
        let number = parse_number(id);
        let Some(seat) = self.seats.iter().position(|seat| seat.id.is_some() && seat.id == number)
        else {
            return Next::Distrust;
        };
        *visit.seat = Some(seat);
        match request {
            Request::InitAck { .. } => self.identify(visit, seat, ticket),
            _ => return self.join(visit, seat, ticket),
        }
        Next::Go
    }

    /// Does a client that calls itself `id` sit in this seat? It shows its `PMI_ID` if it has one, else its rank.
    fn is_called(&self, seat: usize, id: &[u8]) -> bool {
        let seat = &self.seats[seat];
        parse_number(id).is_some_and(|number| number == seat.id.unwrap_or(seat.rank))
    }

    fn identify(&self, visit: &mut Visit<'_>, seat: usize, ticket: Ticket) {
        let SeatState { rank, appnum, .. } = self.seats[seat];
        self.write(visit.out, ticket, &Answer::Identity { rank, appnum });
    }

    /// Joins the job for a rank. The answer comes when the server has answered.
    fn join(&mut self, visit: &mut Visit<'_>, seat: usize, ticket: Ticket) -> Next {
        self.stirred = true;
        if self.seats[seat].stage != Stage::Absent {
            self.refuse(visit, seat, ticket, "this rank has been initialised before");
            return Next::Go;
        }
        match self.ensemble.join(self.seats[seat].rank) {
            Err(error) => self.refuse(visit, seat, ticket, &error.to_string()),
            Ok(member) => {
                self.seat_of.push(seat);
                let state = &mut self.seats[seat];
                (state.stage, state.member) = (Stage::Joined, Some(member));
                state.waits = Some((visit.client, ticket, Wait::Join));
            }
        }
        Next::Go
    }

    /// A client without a put that worked dies, or waits for a value that never comes: so the job ends.
    fn finish_put(
        &mut self,
        visit: &mut Visit<'_>,
        seat: usize,
        ticket: Ticket,
        key: &[u8],
        done: Result<(), Error>,
    ) {
        let Err(error) = done else { return write(ticket, &Reply::Done, visit.out) };
        let key = String::from_utf8_lossy(key);
        self.end_job(visit, seat, ticket, &format!("cannot put key '{key}': {error}"));
    }

    fn end_job(&mut self, visit: &mut Visit<'_>, seat: usize, ticket: Ticket, text: &str) {
        self.stirred = true;
        self.refuse(visit, seat, ticket, text);
        let rank = self.seats[seat].rank;
        self.ensemble.fail(rank, &format!("rank {rank}: {text}"));
    }

    fn own_space(&self, space: Option<&[u8]>) -> Result<(), Error> {
        let own = space.is_none_or(|space| space == self.ensemble.kvsname().as_bytes());
        if own { Ok(()) } else { Err(Error::NoSuchSpace) }
    }

    fn get(
        &mut self,
        visit: &mut Visit<'_>,
        member: MemberId,
        ticket: Ticket,
        space: Option<&[u8]>,
        key: &[u8],
    ) {
        let out = &mut *visit.out;
        let found = self.own_space(space).and_then(|()| {
            self.ensemble.get(member, key, |value| write(ticket, &Reply::Value(value), out))
        });
        match found {
            Ok(()) => {}
            Err(_) if *key == *PROCESS_MAPPING_KEY.as_bytes() => {
                write(ticket, &Reply::Value(self.mapping.as_bytes()), out);
            }
            Err(_) => write(ticket, &Reply::NotFound { key }, out),
        }
    }

    fn enter(&mut self, visit: &mut Visit<'_>, seat: usize, ticket: Ticket, wait: Wait) {
        let (Some(member), None) = (self.member(seat), &self.seats[seat].waits) else {
            return self.refuse(visit, seat, ticket, "this rank waits in a barrier already");
        };
        match self.ensemble.enter(member) {
            Ok(()) => self.seats[seat].waits = Some((visit.client, ticket, wait)),
            Err(Error::Full(text)) => self.end_job(visit, seat, ticket, &text),
            Err(error) => self.refuse(visit, seat, ticket, &error.to_string()),
        }
    }

    fn ring(
        &mut self,
        visit: &mut Visit<'_>,
        seat: usize,
        ticket: Ticket,
        count: i32,
        left: &[u8],
        right: &[u8],
    ) {
        let Some(member) = self.member(seat) else { return };
        let state = &mut self.seats[seat];
        let ring = Ring { number: state.rings, rank: state.rank, size: self.size };
        state.rings += 1;
        match ring.put(&mut self.ensemble, member, count, left, right) {
            Ok(()) => self.enter(visit, seat, ticket, Wait::Ring(ring)),
            Err(error) => self.end_job(visit, seat, ticket, &format!("ring: {error}")),
        }
    }

    fn finalize(&mut self, visit: &mut Visit<'_>, seat: usize, member: MemberId, ticket: Ticket) {
        self.seats[seat].stage = Stage::Gone;
        write(ticket, &Reply::Done, visit.out);
        self.last_left |= self.ensemble.finalize(member);
    }

    /// The launcher is to know first: the rank exits without waiting for an answer, and would seem to have failed by
    /// itself.
    fn abort(&mut self, seat: usize, member: MemberId, code: i32, message: &[u8]) {
        let text = String::from_utf8_lossy(message);
        // Clients whose call has failed because the job is over abort too: that is no reason for its end.
        let over = self.ensemble.board().failure().is_some();
        if let Some(report) = self.report_abort.as_mut().filter(|_| !over) {
            report(self.seats[seat].rank, code, &text);
        }
        self.ensemble.abort(member, code, &text);
    }

    /// A rank's process has ended. True if the job misses it: it had joined, and has not left.
    pub fn ended(&mut self, seat: usize) -> bool {
        let state = &mut self.seats[seat];
        let missed = state.stage == Stage::Joined;
        state.stage = Stage::Gone;
        state.waits = None;
        if let Some(member) = state.member.filter(|_| missed) {
            self.ensemble.lose(member);
        }
        missed
    }

    /// A connection has ended: nothing more can be said to it.
    pub fn forget(&mut self, client: ClientId) {
        self.attribute_waits.retain(|wait| wait.client != client);
        for seat in &mut self.seats {
            if seat.waits.as_ref().is_some_and(|(waiting, ..)| *waiting == client) {
                seat.waits = None;
            }
        }
    }

    /// Moves on, and returns what can be answered now. An error, if any, is told to all who wait.
    pub fn advance(&mut self) -> (Vec<Late>, Option<Error>) {
        let error = self.ensemble.advance().err();
        if let Some(error) = &error {
            self.fail_waiting(&error.to_string());
        }
        let released: Vec<_> = self.ensemble.take_released().collect();
        for member in released {
            self.release(member);
        }
        (std::mem::take(&mut self.late), error)
    }

    fn release(&mut self, member: MemberId) {
        let seat = &mut self.seats[self.seat_of[member.number()]];
        let SeatState { rank, appnum, .. } = *seat;
        let Some((client, ticket, wait)) = seat.waits.take() else { return };
        let answer = match wait {
            Wait::Join if ticket.dialect() == Dialect::V1 => Answer::Init,
            Wait::Join => Answer::Identity { rank, appnum },
            Wait::Barrier => Answer::Done,
            Wait::Ring(ring) => match ring.read(&self.ensemble, member) {
                Ok((count, left, right)) => Answer::Ring { count, left, right },
                Err(error) => Answer::Failed(error.to_string()),
            },
        };
        self.late.push(Late { client, ticket, answer });
    }

    fn fail_waiting(&mut self, text: &str) {
        self.ensemble.drop_waiting();
        let waits = self.seats.iter_mut().filter_map(|seat| seat.waits.take());
        let barriers = waits.map(|(client, ticket, _)| (client, ticket));
        let attributes = self.attribute_waits.drain(..).map(|wait| (wait.client, wait.ticket));
        self.late.extend(barriers.chain(attributes).map(|(client, ticket)| Late {
            client,
            ticket,
            answer: Answer::Failed(text.to_owned()),
        }));
    }

    /// Writes an answer.
    pub fn write(&self, out: &mut Vec<u8>, ticket: Ticket, answer: &Answer) {
        let size = self.size;
        let reply = match answer {
            Answer::Init => Reply::Init,
            Answer::Identity { rank, appnum } => {
                let appnum = i32::try_from(*appnum).unwrap_or(-1);
                Reply::Identity { rank: *rank, size, appnum, spawner: None }
            }
            Answer::Done => Reply::Done,
            Answer::Value(value) => Reply::Value(value),
            Answer::Ring { count, left, right } => Reply::Ring { count: *count, left, right },
            Answer::Failed(text) => Reply::Failed { code: -1, text },
        };
        write(ticket, &reply, out);
    }

    /// Answers with a failure, and tells the user: clients give up without a word.
    fn refuse(&self, visit: &mut Visit<'_>, seat: usize, ticket: Ticket, text: &str) {
        say(self.seats[seat].rank, &text);
        if ticket.wants_answer() {
            write(ticket, &Reply::Failed { code: -1, text }, visit.out);
        }
    }
}

/// Writes to standard error in one piece. What nobody reads is lost.
pub fn say(rank: u32, text: &dyn Display) {
    let _ = io::stderr().write_all(format!("pmi: rank {rank}: {text}\n").as_bytes());
}

fn unsupported(request: &Request<'_>) -> &'static str {
    match request {
        Request::Spawn(_) => "starting more processes (MPI_Comm_spawn) is not supported yet",
        Request::Publish { .. } | Request::Unpublish { .. } | Request::Lookup { .. } => {
            "name publishing (MPI_Publish_name) is not supported yet"
        }
        Request::Connect { .. } | Request::Disconnect { .. } => {
            "connecting to another job is not supported"
        }
        Request::CreateSpace | Request::DestroySpace { .. } => {
            "more key-value spaces can be had through libpmi.so.0 only (PMI_KVS_Create)"
        }
        Request::GetByIndex { .. } => {
            "iterating over pairs can be had through libpmi.so.0 only (PMI_KVS_Iter_first)"
        }
        _ => "the PMI client sent a command that this protocol does not have",
    }
}

fn parse_number(id: &[u8]) -> Option<u32> {
    std::str::from_utf8(id).ok()?.trim().parse().ok()
}
