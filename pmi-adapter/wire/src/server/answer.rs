//! From a reply to the bytes that real servers send.

use crate::Dialect;
use crate::compose::Composer;
use crate::limits::{KEY_MAX, KVSNAME_MAX, LINE_MAX, MESSAGE_MAX, VALUE_MAX};

use super::reply::Reply;
use super::ticket::{Kind, Ticket};

/// The code of a failure that has no other: PMI_FAIL.
const FAIL: i32 = -1;

/// Longest text of an error message: clients read a whole answer into a buffer of 1,024.
const TEXT_MAX: usize = 256;

const _: () = assert!(KVSNAME_MAX + KEY_MAX + TEXT_MAX < VALUE_MAX);

/// Appends the answer to the request that `ticket` stands for; nothing for an abort, which has none. What the dialect
/// cannot carry (a newline in a PMI-1 value, a NUL, more than a message may hold) becomes a failure.
pub fn write(ticket: Ticket, reply: &Reply<'_>, out: &mut Vec<u8>) {
    if !ticket.wants_answer() {
        return;
    }
    let start = out.len();
    if let Some(text) = unfit(ticket.dialect, reply) {
        return compose(ticket, &Reply::Failed { code: FAIL, text }, out);
    }
    compose(ticket, reply, out);
    let limit = match ticket.dialect {
        Dialect::V1 => LINE_MAX,
        Dialect::V2 => MESSAGE_MAX,
    };
    if out.len() - start > limit {
        out.truncate(start);
        compose(ticket, &Reply::Failed { code: FAIL, text: "the answer is too long" }, out);
    }
}

/// Why the dialect cannot carry this reply.
fn unfit(dialect: Dialect, reply: &Reply<'_>) -> Option<&'static str> {
    let texts = match *reply {
        Reply::Name(text) | Reply::Value(text) => [text, b"", b""],
        Reply::Pair { key, value, .. } => [key, value, b""],
        Reply::Ring { left, right, .. } => [left, right, b""],
        Reply::Spawned { job, .. } => [job, b"", b""],
        Reply::Identity { spawner, .. } => [spawner.unwrap_or_default(), b"", b""],
        _ => return None,
    };
    let has = |byte: u8| texts.iter().any(|text| crate::scan::find(text, byte).is_some());
    if has(0) {
        Some("the answer has a NUL, which no PMI client can read")
    } else if dialect == Dialect::V1 && has(b'\n') {
        Some("the answer has a newline, which PMI-1 cannot carry")
    } else {
        None
    }
}

fn compose(ticket: Ticket, reply: &Reply<'_>, out: &mut Vec<u8>) {
    match (ticket.kind, ticket.dialect) {
        (Kind::Init { version }, _) => init(version, reply, out),
        (_, Dialect::V1) => line(ticket, reply, out),
        (_, Dialect::V2) => message(ticket, reply, out),
    }
}

/// Also the clients of PMI-2 read this answer as a PMI-1 line.
fn init(version: u32, reply: &Reply<'_>, out: &mut Vec<u8>) {
    let (version, subversion, rc) = match (version, reply) {
        (1, Reply::Init) => (1, 1, 0),
        (2, Reply::Init) => (2, 0, 0),
        (2, _) => (2, 0, FAIL),
        _ => (1, 1, FAIL),
    };
    let mut answer = Composer::new(Dialect::V1, "response_to_init", out);
    answer.number("pmi_version", version).number("pmi_subversion", subversion);
    answer.number("rc", rc).finish();
}

fn line(ticket: Ticket, reply: &Reply<'_>, out: &mut Vec<u8>) {
    let kind = ticket.kind;
    let mut answer = Composer::new(Dialect::V1, kind.answer(Dialect::V1), out);
    match *reply {
        Reply::Maxes => maxes(&mut answer),
        Reply::Number(number) => {
            answer.number(kind.number_name(), number);
        }
        Reply::Name(name) => {
            answer.text("kvsname", name);
        }
        Reply::Pair { key, value, next } => return pair(&mut answer, key, value, next),
        Reply::Value(port) if kind == Kind::Lookup => {
            answer.text("port", port);
        }
        Reply::Value(value) => return last(&mut answer, 0, b"success", value),
        Reply::NotFound { key } => {
            return failed(&mut answer, kind, FAIL, &[b"key_", key, b"_not_found"].concat());
        }
        Reply::Failed { code, text } => return failed(&mut answer, kind, code, text.as_bytes()),
        Reply::Spawned { errors, .. } => return spawned(&mut answer, errors),
        Reply::Identity { .. } | Reply::Done | Reply::Init | Reply::Ring { .. } => {}
    }
    answer.number("rc", 0);
    if matches!(kind, Kind::Put | Kind::DestroySpace) {
        answer.text("msg", b"success");
    }
    answer.finish();
    if let Reply::Identity { rank, size, .. } = *reply {
        set(size, rank, out);
    }
}

/// What follows the answer to `initack`.
fn set(size: u32, rank: u32, out: &mut Vec<u8>) {
    for (name, number) in [("size", size), ("rank", rank), ("debug", 0)] {
        Composer::new(Dialect::V1, "set", out).number(name, number).finish();
    }
}

fn maxes(answer: &mut Composer<'_>) {
    let maxes = [("kvsname_max", KVSNAME_MAX), ("keylen_max", KEY_MAX), ("vallen_max", VALUE_MAX)];
    for (name, max) in maxes {
        answer.number(name, max as i64);
    }
}

/// An answer with a value: the value comes last, because it may have blanks.
fn last(answer: &mut Composer<'_>, rc: i32, msg: &[u8], value: &[u8]) {
    answer.number("rc", rc).text("msg", msg).text("value", value).finish();
}

fn pair(answer: &mut Composer<'_>, key: &[u8], value: &[u8], next: u32) {
    answer.number("rc", 0).number("nextidx", next).text("key", key).text("val", value).finish();
}

fn spawned(answer: &mut Composer<'_>, errors: &[i32]) {
    answer.number("rc", 0);
    if !errors.is_empty() {
        let codes: Vec<String> = errors.iter().map(i32::to_string).collect();
        answer.text("errcodes", codes.join(",").as_bytes());
    }
    answer.finish();
}

/// Old clients read the value of a failed get without asking for the rc first.
fn failed(answer: &mut Composer<'_>, kind: Kind, code: i32, text: &[u8]) {
    let msg = one_word(text);
    match kind {
        Kind::Get => last(answer, code, &msg, b"unknown"),
        _ => {
            answer.number("rc", code).text("msg", &msg).finish();
        }
    }
}

/// A text that a PMI-1 client reads whole: without blanks, newlines and whatever else might end a word.
fn one_word(text: &[u8]) -> Vec<u8> {
    let shown = text.iter().take(TEXT_MAX);
    shown.map(|byte| if byte.is_ascii_graphic() { *byte } else { b'_' }).collect()
}

fn message(ticket: Ticket, reply: &Reply<'_>, out: &mut Vec<u8>) {
    let kind = ticket.kind;
    let mut answer = Composer::new(Dialect::V2, kind.answer(Dialect::V2), out);
    if !ticket.thread.as_bytes().is_empty() {
        answer.text("thrid", ticket.thread.as_bytes());
    }
    match *reply {
        Reply::Identity { rank, size, appnum, spawner } => {
            identity(&mut answer, rank, size, appnum, spawner);
        }
        Reply::Maxes => maxes(&mut answer),
        Reply::Number(number) => {
            answer.number(kind.number_name(), number);
        }
        Reply::Name(job) => {
            answer.text("jobid", job);
        }
        // MPICH reads `port`, Slurm's library `value`.
        Reply::Value(port) if kind == Kind::Lookup => {
            answer.text("value", port).text("port", port);
        }
        Reply::Value(value) => {
            found(&mut answer, kind, true).text("value", value);
        }
        Reply::Pair { key, value, .. } => {
            answer.text("key", key).text("value", value);
        }
        Reply::NotFound { .. } if kind == Kind::Lookup => {
            return refused(&mut answer, FAIL, "not found");
        }
        Reply::NotFound { .. } => {
            found(&mut answer, kind, false);
        }
        Reply::Ring { count, left, right } => return ring(&mut answer, count, left, right),
        Reply::Spawned { job, errors } => return started(&mut answer, job, errors),
        Reply::Failed { code, text } => return refused(&mut answer, code, text),
        Reply::Done | Reply::Init => {}
    }
    answer.number("rc", 0).finish();
}

fn identity(answer: &mut Composer<'_>, rank: u32, size: u32, appnum: i32, spawner: Option<&[u8]>) {
    answer.number("pmi-version", 2).number("pmi-subversion", 0);
    answer.number("rank", rank).number("size", size).number("appnum", appnum);
    if let Some(spawner) = spawner {
        answer.text("spawner-jobid", spawner);
    }
    answer.truth("debugged", false).truth("pmiverbose", false);
}

/// `flag` is the older name of `found`; of gets only, because only their clients look for it.
fn found<'c, 'o>(answer: &'c mut Composer<'o>, kind: Kind, is_found: bool) -> &'c mut Composer<'o> {
    if kind == Kind::Get {
        answer.truth("flag", is_found);
    }
    answer.truth("found", is_found)
}

fn ring(answer: &mut Composer<'_>, count: i32, left: &[u8], right: &[u8]) {
    answer.number("rc", 0).number("ring-count", count);
    answer.text("ring-left", left).text("ring-right", right).finish();
}

fn started(answer: &mut Composer<'_>, job: &[u8], errors: &[i32]) {
    answer.number("rc", 0).text("jobid", job).number("nerrs", errors.len() as i64);
    for (index, error) in errors.iter().enumerate() {
        answer.number(&format!("err{index}"), *error);
    }
    answer.finish();
}

fn refused(answer: &mut Composer<'_>, code: i32, text: &str) {
    let text: Vec<u8> = text.bytes().take(TEXT_MAX).filter(|byte| *byte != 0).collect();
    answer.number("rc", code).text("errmsg", &text).finish();
}
