//! What the fuzz target `client` does with its input. `cargo test -p pmi-wire` runs it too, on seeded inputs.
//!
//! The first byte of an input says in which pieces the rest arrives, and which calls the client makes.

use pmi_wire::client::{Call, Client};
use pmi_wire::limits::BUFFER_MAX;
use pmi_wire::{Dialect, Violation};

/// The client engine reads anything as answers to its calls.
pub fn run(input: &[u8]) {
    let Some((choice, bytes)) = input.split_first() else {
        return;
    };
    let whole = receive(*choice, bytes, usize::MAX);
    assert_eq!(receive(*choice, bytes, usize::from(*choice).max(1)), whole, "pieces do not matter");
}

/// The answers in `bytes` to call after call, and what is wrong with the rest.
fn receive(choice: u8, bytes: &[u8], piece: usize) -> Vec<String> {
    let dialect = if choice.is_multiple_of(2) { Dialect::V1 } else { Dialect::V2 };
    let (mut client, mut found) = (Client::new(dialect), Vec::new());
    let mut calls = calls(choice).into_iter().cycle();
    call(&mut client, &mut calls);
    let mut rest = bytes;
    while !rest.is_empty() {
        let room = client.room();
        let n = room.len().min(piece).min(rest.len());
        room[..n].copy_from_slice(&rest[..n]);
        client.advance(n);
        rest = &rest[n..];
        loop {
            match client.next() {
                Ok(None) => break,
                Ok(Some(answer)) => found.push(format!("{answer:?}")),
                Err(fault) => {
                    assert_eq!(client.next(), Err(fault.clone()), "it stays refused");
                    found.push(kind(&fault));
                    rest = &[];
                    break;
                }
            }
            call(&mut client, &mut calls);
        }
        assert!(client.capacity() <= BUFFER_MAX);
    }
    found
}

/// Makes the next call that the dialect has.
fn call(client: &mut Client, calls: &mut impl Iterator<Item = Call<'static>>) {
    let mut out = Vec::new();
    let made = calls.find(|call| client.write(call, &mut out).is_ok());
    assert!(made.is_some() && !out.is_empty());
}

/// A life's calls; some begin at another one than the first.
fn calls(choice: u8) -> Vec<Call<'static>> {
    let (space, key, value) = (b"kvs", b"key", b"value");
    let mut calls = vec![
        Call::InitAck { id: b"3" },
        Call::Init,
        Call::FullInit { rank: 3, job: None },
        Call::Maxes,
        Call::Appnum,
        Call::MyName,
        Call::Get { space, key, source: None },
        Call::Put { space, key, value },
        Call::Barrier,
        Call::Get { space, key, source: Some(1) },
        Call::UniverseSize,
        Call::JobAttribute { key },
        Call::PutNodeAttribute { key, value },
        Call::GetNodeAttribute { key, wait: true },
        Call::Ring { count: 1, left: value, right: value },
        Call::Finalize,
    ];
    let first = usize::from(choice / 2) % calls.len();
    calls.rotate_left(first);
    calls
}

/// What is wrong, without the excerpt, which shows as much as has come in.
fn kind(fault: &Violation) -> String {
    assert!(!fault.to_string().is_empty());
    format!("{:?}", std::mem::discriminant(fault))
}
