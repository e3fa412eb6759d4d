//! What the fuzz target `server` does with its input. `cargo test -p pmi-wire` runs it too, on seeded inputs.
//!
//! The first byte of an input says in which pieces the rest arrives.

use pmi_wire::limits::{BUFFER_MAX, HEADER};
use pmi_wire::server::{Connection, Reply, Request, Ticket, write};
use pmi_wire::{Dialect, Violation};

/// The server engine reads anything, and answers each request in every way there is.
pub fn run(input: &[u8]) {
    let Some((piece, bytes)) = input.split_first() else {
        return;
    };
    let whole = serve(bytes, usize::MAX);
    assert_eq!(serve(bytes, usize::from(*piece).max(1)), whole, "pieces do not matter");
}

/// The requests in `bytes`, and what is wrong with the rest.
fn serve(bytes: &[u8], piece: usize) -> Vec<String> {
    let (mut connection, mut found) = (Connection::new(), Vec::new());
    let mut rest = bytes;
    while !rest.is_empty() {
        let room = connection.room();
        let n = room.len().min(piece).min(rest.len());
        room[..n].copy_from_slice(&rest[..n]);
        connection.advance(n);
        rest = &rest[n..];
        loop {
            match connection.next() {
                Ok(None) => break,
                Ok(Some((ticket, request))) => {
                    found.push(format!("{request:?}"));
                    answer(ticket, &request);
                }
                Err(fault) => {
                    assert_eq!(connection.next(), Err(fault.clone()), "it stays refused");
                    found.push(kind(&fault));
                    rest = &[];
                    break;
                }
            }
        }
        assert!(connection.capacity() <= BUFFER_MAX);
    }
    found
}

/// What is wrong, without the excerpt, which shows as much as has come in.
fn kind(fault: &Violation) -> String {
    assert!(!fault.to_string().is_empty());
    format!("{:?}", std::mem::discriminant(fault))
}

/// Each answer is one message, whatever text the client has given us for it.
fn answer(ticket: Ticket, request: &Request<'_>) {
    let text: &[u8] = match request {
        Request::Get { key, .. } | Request::JobAttribute { key } => key,
        Request::Put { value, .. } | Request::PutNodeAttribute { value, .. } => value,
        Request::Unknown { command } => command,
        _ => b"text",
    };
    let replies = [
        Reply::Init,
        Reply::Identity { rank: 1, size: 2, appnum: 0, spawner: Some(text) },
        Reply::Maxes,
        Reply::Number(-1),
        Reply::Name(text),
        Reply::Value(text),
        Reply::NotFound { key: text },
        Reply::Pair { key: b"key", value: text, next: 1 },
        Reply::Done,
        Reply::Ring { count: 1, left: text, right: text },
        Reply::Spawned { job: text, errors: &[0, 1] },
        Reply::Failed { code: -1, text: &String::from_utf8_lossy(text) },
    ];
    for reply in &replies {
        let mut out = Vec::new();
        write(ticket, reply, &mut out);
        is_answer(ticket, reply, &out);
    }
}

fn is_answer(ticket: Ticket, reply: &Reply<'_>, out: &[u8]) {
    let shown = out.escape_ascii();
    if !ticket.wants_answer() {
        assert!(out.is_empty(), "{shown}");
    } else if out.starts_with(b"cmd=") {
        let lines = out.iter().filter(|byte| **byte == b'\n').count();
        let parts = matches!(reply, Reply::Identity { .. });
        assert!(lines == 1 || parts && lines == 4, "{shown}");
        assert!(out.ends_with(b"\n"), "{shown}");
    } else {
        assert_eq!(ticket.dialect(), Dialect::V2, "{shown}");
        let (header, body) = out.split_at(HEADER);
        let length: usize = String::from_utf8_lossy(header).trim().parse().expect("a length");
        assert!(length == body.len() && body.ends_with(b";"), "{shown}");
    }
}
