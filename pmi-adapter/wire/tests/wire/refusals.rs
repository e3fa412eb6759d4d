//! What a client of ours does not send, because the servers that are known would cut it, lose it or die of it.

use pmi_wire::Dialect;
use pmi_wire::client::{Call, Client, Maxima, Unsendable};
use pmi_wire::limits::{LINE_MAX, SLURM_LINE_MAX};

use crate::feed::Engine;

fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Call<'a> {
    Call::Put { space: b"kvs_7_0", key, value }
}

fn refused(client: &mut Client, call: &Call<'_>) -> Unsendable {
    let mut out = b"before".to_vec();
    let reason = client.write(call, &mut out).expect_err("it is refused");
    assert_eq!(out, b"before", "nothing is sent of it");
    reason
}

fn after_init(dialect: Dialect, answer: &[u8]) -> Client {
    let mut client = Client::new(dialect);
    client.write(&Call::Init, &mut Vec::new()).expect("it can be sent");
    client.feed(answer);
    client.next().expect("it is understood").expect("it is whole");
    client
}

#[test]
fn a_blank_or_newline_in_pmi1() {
    let mut client = Client::new(Dialect::V1);
    let reason = refused(&mut client, &put(b"k", b"a b"));
    assert_eq!(reason, Unsendable::Byte { field: "value", byte: b' ', position: 1 });
    let said = "the value has ' ' at position 1, where this PMI server would cut it";
    assert_eq!(reason.to_string(), said);
    let reason = refused(&mut client, &put(b"\nk", b"v"));
    assert_eq!(reason, Unsendable::Byte { field: "key", byte: b'\n', position: 0 });
}

#[test]
fn a_semicolon_in_pmi2() {
    let mut client = Client::new(Dialect::V2);
    let reason = refused(&mut client, &put(b"k", b"a;"));
    assert_eq!(reason, Unsendable::Byte { field: "value", byte: b';', position: 1 });
    assert_eq!(client.write(&put(b"k", b"a b\n"), &mut Vec::new()), Ok(()));
}

#[test]
fn a_nul() {
    for dialect in [Dialect::V1, Dialect::V2] {
        let reason = refused(&mut Client::new(dialect), &put(b"k", b"ab\0"));
        assert_eq!(reason, Unsendable::Byte { field: "value", byte: 0, position: 2 });
    }
}

#[test]
fn nothing_at_all() {
    let empty = Unsendable::Empty { field: "value" };
    assert_eq!(refused(&mut Client::new(Dialect::V1), &put(b"k", b"")), empty);
    assert_eq!(Client::new(Dialect::V2).write(&put(b"k", b""), &mut Vec::new()), Ok(()));
    let hydra5 = b"cmd=response_to_init rc=0 pmi_version=2 pmi_subversion=0\n";
    assert_eq!(refused(&mut after_init(Dialect::V2, hydra5), &put(b"k", b"")), empty);
}

#[test]
fn a_backslash_where_hydra_5_may_take_it_out() {
    let hydra4 = b"cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0\n";
    let mut client = after_init(Dialect::V1, hydra4);
    assert_eq!(client.write(&put(b"k", b"a\\b"), &mut Vec::new()), Ok(()));
    let hydra5 = b"cmd=response_to_init rc=0 pmi_version=1 pmi_subversion=2\n";
    let reason = refused(&mut after_init(Dialect::V1, hydra5), &put(b"k", b"a\\b"));
    assert_eq!(reason, Unsendable::Byte { field: "value", byte: b'\\', position: 1 });
}

#[test]
fn a_line_that_is_too_long_for_the_server() {
    let mut client = Client::new(Dialect::V1);
    let value = vec![b'v'; SLURM_LINE_MAX - b"cmd=put kvsname=kvs_7_0 key=k value=\n".len()];
    client.limit_messages(SLURM_LINE_MAX);
    assert_eq!(client.write(&put(b"k", &value), &mut Vec::new()), Ok(()));
    let reason = refused(&mut client, &put(b"kk", &value));
    let limit = SLURM_LINE_MAX;
    assert_eq!(reason, Unsendable::MessageTooLong { length: limit + 1, limit });
    client.limit_messages(LINE_MAX);
    assert_eq!(refused(&mut client, &put(b"kk", &value)), reason, "a limit is never widened");
}

#[test]
fn what_is_not_shorter_than_the_announced_maximum() {
    let maxima = Maxima { kvsname: 256, key: 64, value: 1024 };
    assert_eq!(maxima.check(&[b'k'; 63], &[b'v'; 1023]), Ok(()));
    let long = maxima.check(&[b'k'; 64], b"v");
    assert_eq!(long, Err(Unsendable::TooLong { field: "key", length: 64, limit: 63 }));
    let long = maxima.check(b"k", &[b'v'; 1024]);
    assert_eq!(long, Err(Unsendable::TooLong { field: "value", length: 1024, limit: 1023 }));
}

#[test]
fn what_the_dialect_does_not_have() {
    let only_v2 = [Call::FullInit { rank: 0, job: None }, Call::JobAttribute { key: b"k" }];
    for call in only_v2 {
        assert_eq!(refused(&mut Client::new(Dialect::V1), &call), Unsendable::NotIn(Dialect::V1));
    }
    for call in [Call::Maxes, Call::Appnum, Call::UniverseSize, Call::InitAck { id: b"0" }] {
        assert_eq!(refused(&mut Client::new(Dialect::V2), &call), Unsendable::NotIn(Dialect::V2));
    }
}

#[test]
fn an_abort_is_never_refused() {
    let message = "it broke; so \\ did\n I".repeat(1000);
    for dialect in [Dialect::V1, Dialect::V2] {
        let mut client = Client::new(dialect);
        client.limit_messages(SLURM_LINE_MAX);
        let mut out = Vec::new();
        let call = Call::Abort { code: -7, message: message.as_bytes() };
        assert_eq!(client.write(&call, &mut out), Ok(()));
        let sent = out.escape_ascii().to_string();
        assert!(sent.contains("exitcode=-7") && sent.contains("=it_broke__so___did__I"), "{sent}");
    }
}
