//! What a client of ours says, a server of ours hears, and the other way round, in whatever pieces it comes.

use pmi_wire::Dialect;
use pmi_wire::client::{Answer, Call, Client, Maxima};
use pmi_wire::limits::{KEY_MAX, KVSNAME_MAX, VALUE_MAX};
use pmi_wire::server::{Connection, Reply, Request, Ticket, write};
use proptest::prelude::*;

use crate::feed::{answer, serve};

fn dialect() -> impl Strategy<Value = Dialect> {
    prop_oneof![Just(Dialect::V1), Just(Dialect::V2)]
}

fn bytes_but(forbidden: &'static [u8]) -> impl Strategy<Value = u8> {
    let allowed: Vec<u8> = (0..=255).filter(|byte| !forbidden.contains(byte)).collect();
    prop::sample::select(allowed)
}

/// Bytes that both dialects can carry in every field.
fn field(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(bytes_but(b"\0 \n;"), 1..=longest)
}

/// Bytes that a value may have in this dialect on its way from the server.
fn value(dialect: Dialect) -> impl Strategy<Value = Vec<u8>> {
    let forbidden: &[u8] = match dialect {
        Dialect::V1 => b"\0\n",
        Dialect::V2 => b"\0",
    };
    let few = prop::collection::vec(prop::sample::select(b" ;=\\v".to_vec()), 0..8);
    prop_oneof![few, prop::collection::vec(bytes_but(forbidden), 0..=VALUE_MAX)]
}

/// A call, owned.
#[derive(Clone, Debug)]
struct Said {
    which: usize,
    space: Vec<u8>,
    key: Vec<u8>,
    value: Vec<u8>,
    number: u32,
    wait: bool,
}

fn said() -> impl Strategy<Value = Said> {
    let texts = (field(KVSNAME_MAX), field(KEY_MAX), field(VALUE_MAX));
    (0..16_usize, texts, any::<u32>(), any::<bool>()).prop_map(
        |(which, (space, key, value), number, wait)| Said {
            which,
            space,
            key,
            value,
            number,
            wait,
        },
    )
}

impl Said {
    fn call(&self) -> Call<'_> {
        let Self { space, key, value, number, wait, .. } = self;
        let some = number.is_multiple_of(2);
        match self.which {
            0 => Call::Init,
            1 => Call::InitAck { id: space },
            2 => Call::FullInit { rank: *number, job: some.then_some(space) },
            3 => Call::Maxes,
            4 => Call::Appnum,
            5 => Call::UniverseSize,
            6 => Call::MyName,
            7 => Call::Put { space, key, value },
            8 => Call::Get { space, key, source: some.then_some(*number) },
            9 => Call::Barrier,
            10 => Call::JobAttribute { key },
            11 => Call::PutNodeAttribute { key, value },
            12 => Call::GetNodeAttribute { key, wait: *wait },
            13 => Call::Ring { count: *number as i32, left: key, right: value },
            14 => Call::Finalize,
            _ => Call::Abort { code: *number as i32, message: b"it-broke" },
        }
    }
}

/// Whether the server has heard what the client said.
fn is_heard(call: &Call<'_>, request: &Request<'_>, dialect: Dialect) -> bool {
    let v1 = dialect == Dialect::V1;
    match (*call, request) {
        (Call::Init, Request::Init { version, subversion }) => {
            (*version, *subversion) == if v1 { (1, 1) } else { (2, 0) }
        }
        (Call::InitAck { id }, Request::InitAck { id: heard }) => id == &**heard,
        (Call::FullInit { rank, job }, Request::FullInit { id, job: heard, threaded: false }) => {
            id.as_deref() == Some(rank.to_string().as_bytes()) && job == heard.as_deref()
        }
        (Call::Maxes, Request::Maxes)
        | (Call::Appnum, Request::Appnum)
        | (Call::UniverseSize, Request::UniverseSize)
        | (Call::MyName, Request::MyName)
        | (Call::Barrier, Request::Barrier { group: None })
        | (Call::Finalize, Request::Finalize) => true,
        (Call::Put { space, key, value }, Request::Put { space: s, key: k, value: v }) => {
            s.as_deref() == v1.then_some(space) && key == &**k && value == &**v
        }
        (Call::Get { space, key, source }, Request::Get { space: s, key: k, source: r }) => {
            s.as_deref() == Some(space) && key == &**k && *r == source.filter(|_| !v1)
        }
        (Call::JobAttribute { key }, Request::JobAttribute { key: k }) => key == &**k,
        (Call::PutNodeAttribute { key, value }, Request::PutNodeAttribute { key: k, value: v }) => {
            key == &**k && value == &**v
        }
        (Call::GetNodeAttribute { key, wait }, Request::GetNodeAttribute { key: k, wait: w }) => {
            key == &**k && wait == *w
        }
        (Call::Ring { count, left, right }, Request::Ring { count: c, left: l, right: r }) => {
            count == *c && left == &**l && right == &**r
        }
        (Call::Abort { code, message }, Request::Abort { code: c, message: m, world: true }) => {
            code == *c && message == &**m
        }
        _ => false,
    }
}

/// The reply that a server could give to `call`, and what the client should make of it.
fn exchange<'a>(call: &Call<'a>, told: &'a Told) -> Option<(Reply<'a>, Answer<'a>)> {
    let (rank, number, value) = (told.rank, told.number, &told.value);
    let text = || value.into();
    Some(match *call {
        Call::Init => return None,
        Call::InitAck { .. } => (
            Reply::Identity { rank, size: number, appnum: 5, spawner: None },
            Answer::Identity { rank, size: number, appnum: None, spawner: None },
        ),
        Call::FullInit { .. } => (
            Reply::Identity { rank, size: number, appnum: -1, spawner: Some(value) },
            Answer::Identity { rank, size: number, appnum: Some(-1), spawner: Some(text()) },
        ),
        Call::Maxes => {
            let maxima = Maxima { kvsname: KVSNAME_MAX, key: KEY_MAX, value: VALUE_MAX };
            (Reply::Maxes, Answer::Maxes(maxima))
        }
        Call::Appnum | Call::UniverseSize => {
            (Reply::Number(number.into()), Answer::Number(number.into()))
        }
        Call::MyName => (Reply::Name(&told.name), Answer::Name((&told.name).into())),
        Call::Get { key, .. } | Call::JobAttribute { key } | Call::GetNodeAttribute { key, .. } => {
            if told.is_found {
                (Reply::Value(value), Answer::Value(text()))
            } else {
                (Reply::NotFound { key }, Answer::NotFound)
            }
        }
        Call::Put { .. } | Call::PutNodeAttribute { .. } | Call::Finalize => {
            (Reply::Done, Answer::Done)
        }
        Call::Barrier => (Reply::Done, Answer::Barrier),
        Call::Ring { .. } => (
            Reply::Ring { count: -3, left: value, right: &told.name },
            Answer::Ring { count: -3, left: text(), right: (&told.name).into() },
        ),
        Call::Abort { .. } => return None,
    })
}

/// What a server has to tell.
#[derive(Clone, Debug)]
struct Told {
    rank: u32,
    number: u32,
    name: Vec<u8>,
    value: Vec<u8>,
    is_found: bool,
}

fn told(dialect: Dialect) -> impl Strategy<Value = Told> {
    (any::<u32>(), any::<u32>(), field(KVSNAME_MAX), value(dialect), any::<bool>()).prop_map(
        |(rank, number, name, value, is_found)| Told { rank, number, name, value, is_found },
    )
}

fn piece() -> impl Strategy<Value = usize> {
    prop_oneof![Just(1), 1..64_usize, Just(usize::MAX)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_call_is_heard_and_every_answer_understood(
        (dialect, told) in dialect().prop_flat_map(|dialect| (Just(dialect), told(dialect))),
        said in said(),
        piece in piece(),
    ) {
        let (mut client, mut connection) = (Client::new(dialect), Connection::new());
        let (call, mut bytes) = (said.call(), Vec::new());
        if client.write(&call, &mut bytes).is_err() {
            return Ok(());
        }
        let mut tickets: Vec<Ticket> = Vec::new();
        let mut heard = true;
        serve(&mut connection, &bytes, piece, |ticket, request| {
            heard &= is_heard(&call, &request, dialect);
            tickets.push(ticket);
        }).expect("we keep to the protocol");
        prop_assert!(heard && tickets.len() == 1, "{:?} as {}", call, bytes.escape_ascii());
        let Some((reply, expected)) = exchange(&call, &told) else {
            return Ok(());
        };
        let mut back = Vec::new();
        write(tickets[0], &reply, &mut back);
        let mut answers = 0;
        answer(&mut client, &back, piece, |answer| {
            assert_eq!(answer, expected, "from {}", back.escape_ascii());
            answers += 1;
        }).expect("we keep to the protocol");
        prop_assert_eq!(answers, 1);
    }

    #[test]
    fn the_pieces_that_requests_come_in_do_not_matter(
        all in prop::collection::vec((said(), dialect()), 1..20),
        pieces in prop::collection::vec(1..200_usize, 1..50),
    ) {
        let mut bytes = Vec::new();
        for (said, dialect) in &all {
            let _ = Client::new(*dialect).write(&said.call(), &mut bytes);
        }
        let mut whole = Vec::new();
        let note = |ticket: Ticket, request: Request<'_>| format!("{ticket:?} {request:?}");
        serve(&mut Connection::new(), &bytes, usize::MAX, |ticket, request| {
            whole.push(note(ticket, request));
        }).expect("we keep to the protocol");
        let (mut connection, mut rest, mut found) = (Connection::new(), &bytes[..], Vec::new());
        for piece in pieces.iter().cycle() {
            let (first, later) = rest.split_at((*piece).min(rest.len()));
            serve(&mut connection, first, usize::MAX, |ticket, request| {
                found.push(note(ticket, request));
            }).expect("we keep to the protocol");
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(found, whole);
    }

    #[test]
    fn a_failure_is_told_with_its_reason(
        dialect in dialect(),
        said in said(),
        code in prop_oneof![-20..0_i32, 1..20_i32],
        reason in "no [ -~]{0,80}",
    ) {
        let (mut client, mut connection) = (Client::new(dialect), Connection::new());
        let (call, mut bytes) = (said.call(), Vec::new());
        if client.write(&call, &mut bytes).is_err() || matches!(call, Call::Init | Call::Abort { .. }) {
            return Ok(());
        }
        let mut back = Vec::new();
        serve(&mut connection, &bytes, usize::MAX, |ticket, _| {
            write(ticket, &Reply::Failed { code, text: &reason }, &mut back);
        }).expect("we keep to the protocol");
        answer(&mut client, &back, usize::MAX, |answer| {
            let Answer::Failed { rc, text } = answer else {
                panic!("{answer:?} from {}", back.escape_ascii());
            };
            assert_eq!(rc, i64::from(code));
            let words = |text: &[u8]| String::from_utf8_lossy(text).replace(' ', "_");
            assert_eq!(words(&text), words(reason.as_bytes()));
        }).expect("we keep to the protocol");
    }
}
