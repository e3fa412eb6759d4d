//! What no client or server should send: it is refused with a reason, costs no more memory than it may, and harms
//! nothing.

use pmi_wire::client::{Call, Client};
use pmi_wire::limits::{BUFFER_MAX, LINE_MAX, MESSAGE_MAX, SPAWN_MAX};
use pmi_wire::server::{Connection, Request};
use pmi_wire::{Dialect, Violation};

use crate::feed::{Engine, serve};

fn refused(bytes: &[u8]) -> Violation {
    let mut connection = Connection::new();
    let fault = serve(&mut connection, bytes, 1000, |_, _| {}).expect_err("it is refused");
    assert!(connection.capacity() <= BUFFER_MAX);
    assert_eq!(connection.next(), Err(fault.clone()), "it stays refused");
    fault
}

/// What an accepted connection asks for.
fn requests(bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    serve(&mut Connection::new(), bytes, usize::MAX, |_, request| {
        found.push(format!("{request:?}"));
    })
    .expect("it is accepted");
    found
}

#[test]
fn lines_have_an_end() {
    let endless = [b"cmd=put key=".to_vec(), vec![b'k'; LINE_MAX]].concat();
    assert_eq!(refused(&endless), Violation::LineTooLong);
    let exactly = |length: usize| {
        let mut line = b"cmd=put key=k value=".to_vec();
        line.resize(length - 1, b'v');
        line.push(b'\n');
        line
    };
    assert_eq!(requests(&exactly(LINE_MAX)).len(), 1);
    assert_eq!(refused(&exactly(LINE_MAX + 1)), Violation::LineTooLong);
}

#[test]
fn spawn_requests_have_an_end() {
    let line = b"mcmd=spawn\narg1=x\n".repeat(SPAWN_MAX / 18 + 1);
    assert_eq!(refused(&line), Violation::SpawnTooLong);
    let one_line = [b"mcmd=".to_vec(), vec![b'x'; SPAWN_MAX]].concat();
    assert_eq!(refused(&one_line), Violation::SpawnTooLong);
}

#[test]
fn spawn_requests_ask_for_a_possible_number_of_commands() {
    for total in ["0", "-1", "1025", "many", "99999999999999999999"] {
        let line = format!("mcmd=spawn\ntotspawns={total}\n");
        assert!(matches!(refused(line.as_bytes()), Violation::BadSpawn(_)), "{total}");
    }
}

#[test]
fn lengths_are_numbers_that_are_possible() {
    for header in ["     0", "      ", "12 345", "1234x ", "    -1", "   +-1", "1\0\0\0\0\0"] {
        let fault = refused(header.as_bytes());
        assert!(matches!(fault, Violation::BadLength(_)), "{header:?}: {fault}");
    }
    assert_eq!(refused(b"999999"), Violation::MessageTooLong(999_999));
    assert_eq!(refused(b"65537 "), Violation::MessageTooLong(MESSAGE_MAX + 1));
}

#[test]
fn the_longest_message_is_accepted() {
    let body = [&b"cmd=kvs-put;key=k;value="[..], &vec![b'v'; MESSAGE_MAX - 25], b";"].concat();
    assert_eq!(body.len(), MESSAGE_MAX);
    let mut connection = Connection::new();
    let mut lengths = Vec::new();
    let twice = [format!("{MESSAGE_MAX:<6}").as_bytes(), &body].concat().repeat(2);
    serve(&mut connection, &twice, 4000, |_, request| {
        if let Request::Put { value, .. } = request {
            lengths.push(value.len());
        }
    })
    .expect("it is accepted");
    assert_eq!(lengths, [MESSAGE_MAX - 25; 2]);
    assert!(connection.capacity() <= BUFFER_MAX);
}

#[test]
fn what_is_no_message_is_refused_at_its_first_byte() {
    for start in ["\n", "\0", "GET / HTTP/1.1", "Cmd=init", "=", ";", "\x7f"] {
        assert!(matches!(refused(start.as_bytes()), Violation::NoCommand(_)), "{start:?}");
    }
}

#[test]
fn a_reason_names_what_is_missing_or_wrong() {
    let reasons = [
        ("cmd=put kvsname=x value=1\n", "\"put\" comes without key="),
        ("cmd=init pmi_version=one pmi_subversion=1\n", "pmi_version=\"one\""),
        ("cmd=init pmi_version=-1 pmi_subversion=1\n", "pmi_version=\"-1\""),
        ("14    cmd=kvs-get;x=", "\"kvs-get\" comes without key="),
        ("45    cmd=ring;ring-count=x;ring-left=;ring-right=;", "ring-count=\"x\""),
        ("call me\n", "\"call me\" instead of cmd="),
        ("cmd \n", "\"cmd \" instead of cmd="),
    ];
    for (bytes, reason) in reasons {
        let said = refused(bytes.as_bytes()).to_string();
        assert!(said.contains(reason), "{bytes:?}: {said}");
    }
}

#[test]
fn a_thread_id_has_room_in_the_ticket() {
    let message = |thread: &str| {
        let body = format!("cmd=kvs-fence;thrid={thread};");
        format!("{:<6}{body}", body.len())
    };
    assert_eq!(requests(message(&"7".repeat(32)).as_bytes()).len(), 1);
    assert_eq!(refused(message(&"7".repeat(33)).as_bytes()), Violation::ThreadIdTooLong);
}

#[test]
fn the_surplus_of_mpich_cannot_become_part_of_a_value() {
    let fullinit = "44    cmd=fullinit;pmirank=0;threaded=FALSE;;x=y;z";
    let put = "32    cmd=kvs-put;key=k;value=v;;x=w;;";
    let found = requests(format!("{fullinit}{put}").as_bytes());
    assert!(found[1].contains("value: [118]"), "{}", found[1]);
}

#[test]
fn both_dialects_may_follow_each_other() {
    let found =
        requests(b"cmd=get_maxes\n14    cmd=job-getid;cmd=get_appnum\n    14cmd=kvs-fence;");
    assert_eq!(found, ["Maxes", "MyName", "Appnum", "Barrier { group: None }"]);
}

#[test]
fn an_unknown_command_is_told_by_its_name() {
    assert_eq!(requests(b"cmd=singinit pmi_version=1\n").len(), 1);
    assert!(requests(b"    11cmd=concat;")[0].starts_with("Unknown"));
}

#[test]
fn after_a_violation_more_bytes_cost_nothing() {
    let mut connection = Connection::new();
    connection.feed(b"!");
    assert!(connection.next().is_err());
    for _ in 0..10_000 {
        connection.feed(&[b'x'; 1000]);
        assert!(connection.next().is_err());
    }
    assert!(connection.capacity() <= BUFFER_MAX);
}

#[test]
fn a_server_is_held_to_the_same_limits() {
    let mut client = Client::new(Dialect::V2);
    client.write(&Call::MyName, &mut Vec::new()).expect("it can be sent");
    client.feed(b"999999cmd=job-getid-response;");
    assert_eq!(client.next(), Err(Violation::MessageTooLong(999_999)));
}
