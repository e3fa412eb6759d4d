//! Against servers that are a list of lines: what is sent, how answers are taken, and how it ends when they fail.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use super::*;

/// What the rank says and the server answers until it is a member. Slurm's order of words.
const ENTRY: [(&str, &str); 5] = [
    (
        "cmd=init pmi_version=1 pmi_subversion=1",
        "cmd=response_to_init rc=0 pmi_version=1 pmi_subversion=1",
    ),
    ("cmd=get_maxes", "cmd=maxes kvsname_max=256 keylen_max=64 vallen_max=1024"),
    ("cmd=get_my_kvsname", "cmd=my_kvsname kvsname=kvs_1_0"),
    ("cmd=get_appnum", "cmd=appnum appnum=3"),
    ("cmd=get_universe_size", "cmd=universe_size size=-1"),
];

fn placement(more: &[(&str, &str)]) -> Placement {
    let base = [("PMI_RANK", "1"), ("PMI_SIZE", "4")];
    let all: Vec<_> = base.iter().chain(more).collect();
    Placement::read(&|name| {
        all.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
    })
    .unwrap()
}

/// A server that expects lines and answers each, then waits until the rank closes its end.
fn serve(mut server: UnixStream, script: Vec<(String, String)>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut lines = BufReader::new(server.try_clone().unwrap());
        for (expected, answer) in script {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            assert_eq!(line.trim_end(), expected);
            server.write_all(answer.as_bytes()).unwrap();
        }
        let _ = lines.read_to_end(&mut Vec::new());
    })
}

/// A rank and its server.
struct Pair {
    wire: Wire,
    /// The rank's end, which must outlive it.
    ours: UnixStream,
    /// The server's end, to say something that nobody has asked for.
    theirs: UnixStream,
    server: JoinHandle<()>,
}

impl Pair {
    /// Ends the rank; panics if the server heard something else than it expected.
    fn end(self) {
        drop((self.wire, self.ours));
        self.server.join().unwrap();
    }
}

/// A rank of a server that knows this script beyond the entry.
fn pair(more: &[(&str, &str)], variables: &[(&str, &str)]) -> Pair {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let entry = ENTRY.iter().map(|(line, answer)| (line.to_string(), format!("{answer}\n")));
    let rest = more.iter().map(|(line, answer)| (line.to_string(), answer.to_string()));
    let server = serve(theirs.try_clone().unwrap(), entry.chain(rest).collect());
    let wire = join_at(ours.as_raw_fd(), &placement(variables), Api::Pmi1).expect("it joins");
    Pair { wire, ours, theirs, server }
}

fn get(wire: &Wire, key: &[u8]) -> Result<Vec<u8>, BackendError> {
    let mut found = Vec::new();
    wire.get(b"kvs_1_0", key, &mut |value| found = value.to_vec())?;
    Ok(found)
}

fn over(outcome: Result<(), BackendError>) -> String {
    match outcome {
        Err(BackendError::Over(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_server_tells_name_and_maxima_and_the_environment_the_rank() {
    let pair = pair(&[], &[]);
    let place = pair.wire.place();
    assert_eq!((place.rank, place.size, place.appnum, place.universe_size), (1, 4, 3, 4));
    assert_eq!(pair.wire.kvsname(), "kvs_1_0");
    assert_eq!(pair.wire.limits(), Limits { kvsname: 256, key: 64, value: 1024 });
    pair.end();
}

#[test]
fn own_pairs_are_there_at_once_and_the_servers_after_the_barrier() {
    let pair = pair(
        &[
            ("cmd=put kvsname=kvs_1_0 key=k value=mine", "cmd=put_result rc=0 msg=success\n"),
            ("cmd=barrier_in", "cmd=barrier_out\n"),
            ("cmd=get kvsname=kvs_1_0 key=k", "cmd=get_result rc=0 value=theirs\n"),
            ("cmd=get kvsname=kvs_1_0 key=z", "cmd=get_result rc=-1 msg=key_z_not_found\n"),
        ],
        &[],
    );
    let wire = &pair.wire;
    wire.put(b"kvs_1_0", b"k", b"mine").unwrap();
    assert_eq!(get(wire, b"k").unwrap(), b"mine");
    wire.commit(b"kvs_1_0").unwrap();
    wire.barrier().unwrap();
    assert_eq!(get(wire, b"k").unwrap(), b"theirs");
    assert_eq!(get(wire, b"z"), Err(BackendError::NoSuchKey));
    assert_eq!(get(wire, b"with space"), Err(BackendError::NoSuchKey));
    assert_eq!(wire.put(b"other", b"k", b"v"), Err(BackendError::NoSuchSpace));
    pair.end();
}

#[test]
fn what_the_server_refuses_or_has_not_is_an_error_with_a_reason() {
    let put = ("cmd=put kvsname=kvs_1_0 key=k value=v", "cmd=put_result rc=-1 msg=full\n");
    let pair = pair(&[put], &[]);
    let wire = &pair.wire;
    for outcome in [
        wire.put(b"kvs_1_0", b"k", b"v"),
        wire.put(b"kvs_1_0", b"k", b"a b"),
        wire.put(b"kvs_1_0", b"k", b""),
        wire.put(b"kvs_1_0", b"a=b", b"v"),
        wire.put(b"kvs_1_0", &[b'k'; 64], b"v"),
        wire.put(b"kvs_1_0", b"k", &[b'v'; 1024]),
        wire.create_space().map(drop),
        wire.next_pair(b"kvs_1_0", 0, &mut |_, _| ()).map(drop),
    ] {
        let Err(BackendError::Refused(text)) = outcome else { panic!("{outcome:?}") };
        assert!(text.contains("Hydra 4, gforker") && text.len() < 300, "{text}");
    }
    pair.end();
}

#[test]
fn a_server_that_goes_away_ends_the_membership_with_a_reason() {
    let Pair { wire, ours: _ours, theirs, server } = pair(&[("cmd=barrier_in", "")], &[]);
    wire.begin_barrier().unwrap();
    theirs.shutdown(Shutdown::Both).unwrap();
    server.join().unwrap();
    let text = over(wire.finish_barrier());
    for part in ["PMI_FD=", "Hydra 4, gforker", "has closed the connection during a barrier"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(over(wire.put(b"kvs_1_0", b"k", b"v")), text, "the first reason stays");
}

#[test]
fn an_answer_to_something_else_ends_the_membership() {
    for answer in ["cmd=put_result rc=0\n", "nonsense\n", "cmd=get_result rc=0 novalue=1\n"] {
        let pair = pair(&[("cmd=get kvsname=kvs_1_0 key=k", answer)], &[]);
        let text = over(get(&pair.wire, b"k").map(drop));
        assert!(text.contains("breaks the protocol in its answer to a get of 'k'"), "{text}");
        pair.end();
    }
}

#[test]
fn pmi_timeout_is_the_deadline_of_every_call() {
    let pair = pair(&[("cmd=barrier_in", "")], &[("PMI_TIMEOUT", "1")]);
    let outcome = pair.wire.barrier();
    let Err(BackendError::Timeout(text)) = &outcome else { panic!("{outcome:?}") };
    assert!(text.contains("within the 1 s of PMI_TIMEOUT"), "{text}");
    assert_eq!(pair.wire.finalize(), outcome, "what comes later would answer another call");
    pair.end();
}

#[test]
fn a_split_barrier_is_asked_for_without_waiting_and_completed_by_the_next_call() {
    let mut pair = pair(
        &[
            ("cmd=barrier_in", ""),
            ("cmd=get kvsname=kvs_1_0 key=k", "cmd=get_result rc=0 value=v\n"),
            ("cmd=finalize", "cmd=finalize_ack\n"),
        ],
        &[],
    );
    pair.wire.begin_barrier().unwrap();
    assert_eq!(pair.wire.test_barrier(), Ok(false));
    pair.theirs.write_all(b"cmd=barrier_out tag=0\n").unwrap();
    assert_eq!(get(&pair.wire, b"k").unwrap(), b"v");
    assert_eq!(pair.wire.test_barrier(), Ok(true));
    pair.wire.finish_barrier().unwrap();
    pair.wire.finalize().unwrap();
    pair.end();
}

#[test]
fn an_abort_passes_a_call_that_waits_for_its_answer() {
    let lines = [("cmd=barrier_in", ""), ("cmd=abort exitcode=7 message=by_intent", "")];
    let Pair { wire, ours: _ours, theirs, server } = pair(&lines, &[]);
    wire.begin_barrier().unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| wire.finish_barrier());
        wire.abort(7, "by intent");
        // The line has been sent: the server's script ends with it.
        theirs.shutdown(Shutdown::Write).unwrap();
        assert!(over(waiter.join().unwrap()).contains("has closed the connection"));
    });
    theirs.shutdown(Shutdown::Both).unwrap();
    server.join().unwrap();
}
