//! Real PMI servers, recorded with real clients or a script: our client's words are what was sent to them, and what
//! they answered is understood.

use pmi_wire::Dialect;
use pmi_wire::client::{Answer, Call, Client, Maxima};
use pmi_wire::server::{Connection, Request};

use crate::feed::{Engine, answer, serve};
use crate::recording::{Recording, Sender, Step, recordings};

/// The call that a client of ours makes for the same request; `None` if it makes no such call.
fn call<'a>(request: &'a Request<'a>) -> Option<Call<'a>> {
    let space = |space: &'a Option<_>| -> &'a [u8] { space.as_deref().unwrap_or_default() };
    Some(match request {
        Request::Init { .. } => Call::Init,
        Request::InitAck { id } => Call::InitAck { id },
        Request::FullInit { id, job, .. } => Call::FullInit {
            rank: std::str::from_utf8(id.as_deref()?).ok()?.parse().ok()?,
            job: job.as_deref(),
        },
        Request::Maxes => Call::Maxes,
        Request::Appnum => Call::Appnum,
        Request::UniverseSize => Call::UniverseSize,
        Request::MyName => Call::MyName,
        Request::Put { space: name, key, value } => {
            let space = name.as_deref().unwrap_or(b"no name in PMI-2");
            Call::Put { space, key, value }
        }
        Request::Get { space: name, key, source } => {
            Call::Get { space: space(name), key, source: *source }
        }
        Request::Barrier { .. } => Call::Barrier,
        Request::JobAttribute { key } => Call::JobAttribute { key },
        Request::PutNodeAttribute { key, value } => Call::PutNodeAttribute { key, value },
        Request::GetNodeAttribute { key, wait } => Call::GetNodeAttribute { key, wait: *wait },
        Request::Finalize => Call::Finalize,
        _ => return None,
    })
}

/// What one client of a recording said, one call at a time, and what it was answered.
struct Exchange {
    asked: Vec<u8>,
    answered: Vec<u8>,
}

fn exchanges(steps: Vec<Step>) -> Vec<Exchange> {
    let mut exchanges: Vec<Exchange> = Vec::new();
    for step in steps {
        match step.sender {
            Sender::Client => {
                exchanges.push(Exchange { asked: step.bytes, answered: Vec::new() });
            }
            Sender::Server => {
                let last = exchanges.last_mut().expect("the client begins");
                last.answered.extend(step.bytes);
            }
        }
    }
    exchanges
}

/// The message without its length, which stands left with some, right with others, and is 6 too large with MPICH 4.0.2.
fn without_length(message: &[u8]) -> &[u8] {
    if message.starts_with(b"cmd=") { message } else { &message[6..] }
}

/// Replays a recording and gives what our client understood.
fn understood(recording: &Recording) -> Vec<String> {
    let exchanges = exchanges(recording.steps());
    let is_v2 =
        exchanges.iter().any(|exchange| exchange.asked.starts_with(b"cmd=init pmi_version=2"));
    let mut client = Client::new(if is_v2 { Dialect::V2 } else { Dialect::V1 });
    let mut connection = Connection::new();
    let mut found = Vec::new();
    for Exchange { asked, answered } in &exchanges {
        let mut ours = Vec::new();
        let mut calls = 0;
        serve(&mut connection, asked, usize::MAX, |_, request| {
            if let Some(call) = call(&request) {
                client.write(&call, &mut ours).expect("what was sent can be sent");
                calls += 1;
            }
        })
        .expect("real clients keep to the protocol");
        if calls == 0 {
            continue;
        }
        let (ours, theirs) = (without_length(&ours), without_length(asked));
        assert!(
            theirs.starts_with(ours),
            "{}: {} and {}",
            recording.name,
            ours.escape_ascii(),
            theirs.escape_ascii()
        );
        let before = found.len();
        answer(&mut client, answered, 7, |answer| found.push(format!("{answer:?}")))
            .unwrap_or_else(|fault| panic!("{}: {fault}", recording.name));
        assert_eq!(found.len(), before + calls, "{}: each call has its answer", recording.name);
    }
    found
}

#[test]
fn are_understood() {
    let recordings = recordings("servers");
    assert_eq!(recordings.len(), 15);
    for recording in &recordings {
        let found = understood(recording);
        assert!(found.len() >= 9, "{}: {found:#?}", recording.name);
        let failed = found.iter().find(|answer| answer.starts_with("Failed"));
        assert_eq!(failed, None, "{}", recording.name);
        assert!(found[0].starts_with("Init") || found[0].starts_with("Identity"));
        assert_eq!(found.last().map(String::as_str), Some("Done"), "{}", recording.name);
        let barriers = found.iter().filter(|answer| *answer == "Barrier").count();
        assert!(barriers > 0, "{}", recording.name);
    }
}

#[test]
fn say_in_their_own_way_that_there_is_no_such_key() {
    let scripted = recordings("servers").into_iter().filter(|recording| {
        recording.steps().iter().any(|step| step.bytes.ends_with(b"key=missing\n"))
            || recording.steps().iter().any(|step| step.bytes.ends_with(b"key=missing;"))
    });
    let mut count = 0;
    for recording in scripted {
        let found = understood(&recording);
        let missing = found.iter().filter(|answer| *answer == "NotFound").count();
        assert!(missing >= 2, "{}: {found:#?}", recording.name);
        count += 1;
    }
    assert_eq!(count, 7);
}

fn answers_to(dialect: Dialect, calls: &[Call<'_>], bytes: &[u8]) -> Vec<String> {
    let mut client = Client::new(dialect);
    for call in calls {
        client.write(call, &mut Vec::new()).expect("it can be sent");
    }
    let mut found = Vec::new();
    answer(&mut client, bytes, usize::MAX, |answer| found.push(format!("{answer:?}")))
        .expect("it is understood");
    found
}

#[test]
fn may_leave_out_the_rc() {
    let maxima = Answer::Maxes(Maxima { kvsname: 256, key: 64, value: 4096 });
    let line = b"cmd=maxes kvsname_max=256 keylen_max=64 vallen_max=4096\n";
    assert_eq!(answers_to(Dialect::V1, &[Call::Maxes], line), [format!("{maxima:?}")]);
    let ring = b"    58cmd=ring-response;ring-count=2;ring-left=l;ring-right=r=r;";
    let call = Call::Ring { count: 1, left: b"x", right: b"x" };
    let found = answers_to(Dialect::V2, &[call], ring);
    assert!(found[0].starts_with("Ring { count: 2"), "{found:?}");
}

#[test]
fn may_answer_a_barrier_after_what_was_asked_later() {
    let get = Call::Get { space: b"kvs", key: b"k", source: None };
    let bytes = b"cmd=get_result rc=0 value=v\ncmd=barrier_out tag=0\n";
    let found = answers_to(Dialect::V1, &[Call::Barrier, get], bytes);
    assert!(found[0].starts_with("Value"), "{found:?}");
    assert_eq!(found[1], "Barrier");
}

#[test]
fn refuse_with_a_code_and_a_word() {
    let get = Call::Get { space: b"other", key: b"k", source: None };
    let line = b"cmd=get_result rc=-1 msg=kvs_other_not_found value=unknown\n";
    let found = answers_to(Dialect::V1, &[get], line);
    assert!(found[0].starts_with("Failed { rc: -1"), "{found:?}");
    // What gforker, which has no PMI-2, says to a client of PMI-2.
    let line = b"cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=-1\n";
    let found = answers_to(Dialect::V2, &[Call::Init], line);
    assert!(found[0].starts_with("Failed { rc: -1"), "{found:?}");
}

#[test]
fn may_not_answer_what_was_not_asked() {
    let wrong = [
        (&[][..], "nothing"),
        (&[Call::Maxes][..], "maxes"),
        (&[Call::Barrier][..], "barrier_out"),
    ];
    for (calls, expected) in wrong {
        let mut client = Client::new(Dialect::V1);
        for call in calls {
            client.write(call, &mut Vec::new()).expect("it can be sent");
        }
        client.feed(b"cmd=appnum appnum=0 rc=0\n");
        let fault = client.next().expect_err("nobody asked for it").to_string();
        assert!(fault.contains(expected) && fault.contains("appnum"), "{fault}");
        assert_eq!(client.next().expect_err("it stays so").to_string(), fault);
    }
}

#[test]
fn are_waited_for_until_an_answer_is_ready() {
    let mut client = Client::new(Dialect::V1);
    client.write(&Call::InitAck { id: b"3" }, &mut Vec::new()).expect("it can be sent");
    let bytes = b"cmd=initack rc=0\ncmd=set size=4\ncmd=set rank=3\ncmd=set debug=0\n";
    for byte in &bytes[..bytes.len() - 1] {
        client.feed(std::slice::from_ref(byte));
        assert!(!client.is_ready());
    }
    client.feed(b"\n");
    assert!(client.is_ready());
    // More may come meanwhile, and more room be asked for: the answer stays whole.
    for _ in 0..3 {
        client.feed(&[b' '; 3000]);
        assert!(client.is_ready());
    }
    let identity = Answer::Identity { rank: 3, size: 4, appnum: None, spawner: None };
    assert_eq!(client.next(), Ok(Some(identity)));
    assert!(client.is_ready(), "blanks are no message, which is an error");
    assert!(client.next().is_err());
}
