//! A plain PMI server over the engine: one job, everything in memory, answers ready to be compared.

use std::collections::{HashMap, VecDeque};

use pmi_wire::server::{Connection, Reply, Request, Ticket, write};

use crate::feed::serve;

const KVSNAME: &[u8] = b"kvs_7_0";
const MAPPING: &[u8] = b"PMI_process_mapping";

pub struct Plain {
    size: usize,
    pairs: HashMap<Vec<u8>, Vec<u8>>,
    node_attributes: HashMap<Vec<u8>, Vec<u8>>,
    waiting: Vec<(usize, Ticket, Vec<u8>)>,
    barrier: Vec<(usize, Ticket)>,
    connections: HashMap<Option<usize>, Connection>,
    /// Per rank the answers that are not sent yet.
    pub answers: HashMap<Option<usize>, VecDeque<u8>>,
}

/// What is done with a request at once.
enum Outcome {
    Answer(Vec<u8>),
    Later,
    /// The client has said who it is.
    Rank(usize, Vec<u8>),
}

impl Plain {
    pub fn new(size: usize, mapping: &str) -> Self {
        let pairs = HashMap::from([(MAPPING.to_vec(), mapping.as_bytes().to_vec())]);
        Self {
            size,
            pairs,
            node_attributes: HashMap::new(),
            waiting: Vec::new(),
            barrier: Vec::new(),
            connections: HashMap::new(),
            answers: HashMap::new(),
        }
    }

    /// Takes what a client sent.
    pub fn take(&mut self, rank: Option<usize>, bytes: &[u8]) {
        let mut connection = self.connections.remove(&rank).unwrap_or_default();
        let mut known = rank;
        serve(&mut connection, bytes, usize::MAX, |ticket, request| {
            match self.handle(known, ticket, request) {
                Outcome::Later => {}
                Outcome::Answer(answer) => self.answers.entry(known).or_default().extend(answer),
                Outcome::Rank(rank, answer) => {
                    known = Some(rank);
                    self.answers.entry(known).or_default().extend(answer);
                }
            }
        })
        .expect("real clients keep to the protocol");
        self.connections.insert(known, connection);
    }

    fn handle(&mut self, rank: Option<usize>, ticket: Ticket, request: Request<'_>) -> Outcome {
        let size = self.size as i64;
        let reply = match &request {
            Request::Init { .. } => Reply::Init,
            Request::InitAck { id } => return self.identity(ticket, id),
            Request::FullInit { id, .. } => {
                return self.identity(ticket, id.as_deref().expect("all say who they are"));
            }
            Request::Maxes => Reply::Maxes,
            Request::Appnum => Reply::Number(0),
            Request::UniverseSize => Reply::Number(size),
            Request::MyName => Reply::Name(KVSNAME),
            Request::Put { key, value, .. } => {
                self.pairs.insert(key.to_vec(), value.to_vec());
                Reply::Done
            }
            Request::Get { key, .. } | Request::JobAttribute { key } => found(&self.pairs, key),
            Request::PutNodeAttribute { key, value } => {
                self.node_attributes.insert(key.to_vec(), value.to_vec());
                self.wake();
                Reply::Done
            }
            Request::GetNodeAttribute { key, wait } => {
                if *wait && !self.node_attributes.contains_key(&**key) {
                    self.waiting.push((rank.expect("they know who asks"), ticket, key.to_vec()));
                    return Outcome::Later;
                }
                found(&self.node_attributes, key)
            }
            Request::Barrier { group: None } => return self.barrier(rank, ticket),
            Request::Finalize => Reply::Done,
            other => panic!("not in these recordings: {other:?}"),
        };
        Outcome::Answer(written(ticket, &reply))
    }

    fn identity(&mut self, ticket: Ticket, id: &[u8]) -> Outcome {
        let rank: u32 = std::str::from_utf8(id).expect("text").parse().expect("a rank");
        let identity = Reply::Identity { rank, size: self.size as u32, appnum: 0, spawner: None };
        Outcome::Rank(rank as usize, written(ticket, &identity))
    }

    fn barrier(&mut self, rank: Option<usize>, ticket: Ticket) -> Outcome {
        self.barrier.push((rank.expect("they know who asks"), ticket));
        if self.barrier.len() == self.size {
            for (rank, ticket) in std::mem::take(&mut self.barrier) {
                self.send(rank, &written(ticket, &Reply::Done));
            }
        }
        Outcome::Later
    }

    fn wake(&mut self) {
        for (rank, ticket, key) in std::mem::take(&mut self.waiting) {
            match self.node_attributes.get(&key) {
                Some(value) => {
                    let answer = written(ticket, &Reply::Value(value));
                    self.send(rank, &answer);
                }
                None => self.waiting.push((rank, ticket, key)),
            }
        }
    }

    fn send(&mut self, rank: usize, answer: &[u8]) {
        self.answers.entry(Some(rank)).or_default().extend(answer);
    }
}

fn found<'a>(pairs: &'a HashMap<Vec<u8>, Vec<u8>>, key: &'a [u8]) -> Reply<'a> {
    pairs.get(key).map_or(Reply::NotFound { key }, |value| Reply::Value(value))
}

fn written(ticket: Ticket, reply: &Reply<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    write(ticket, reply, &mut out);
    out
}
