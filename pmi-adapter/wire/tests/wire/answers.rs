//! The bytes of answers that no recording has.

use pmi_wire::server::{Connection, Reply, write};

use crate::feed::serve;

fn answered(request: &str, reply: &Reply<'_>) -> String {
    let mut out = Vec::new();
    let bytes = match request.strip_prefix("cmd=") {
        Some(rest) if rest.ends_with(';') => format!("{:<6}{request}", request.len()),
        _ => format!("{request}\n"),
    };
    serve(&mut Connection::new(), bytes.as_bytes(), usize::MAX, |ticket, _| {
        write(ticket, reply, &mut out);
    })
    .expect("it is a request");
    out.escape_ascii().to_string()
}

#[test]
fn versions_are_accepted_by_their_first_number() {
    let init = |version, subversion| {
        let line = format!("cmd=init pmi_version={version} pmi_subversion={subversion}");
        answered(&line, &Reply::Init)
    };
    for subversion in 0..4 {
        let v1 = "cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0\\n";
        assert_eq!(init(1, subversion), v1);
        let v2 = "cmd=response_to_init pmi_version=2 pmi_subversion=0 rc=0\\n";
        assert_eq!(init(2, subversion), v2);
    }
    let refused = "cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=-1\\n";
    assert_eq!(init(0, 1), refused);
    assert_eq!(init(3, 0), refused);
}

#[test]
fn an_init_can_be_refused() {
    let reply = Reply::Failed { code: 1, text: "no" };
    let line = answered("cmd=init pmi_version=2 pmi_subversion=0", &reply);
    assert_eq!(line, "cmd=response_to_init pmi_version=2 pmi_subversion=0 rc=-1\\n");
}

#[test]
fn the_thread_comes_first() {
    let answer = answered("cmd=kvs-get;thrid=0x7ffe;key=k;", &Reply::Value(b"v"));
    assert_eq!(
        answer,
        "    68cmd=kvs-get-response;thrid=0x7ffe;flag=TRUE;found=TRUE;value=v;rc=0;"
    );
    let answer = answered("cmd=kvs-fence;thrid=0x7ffe;", &Reply::Done);
    assert_eq!(answer, "    41cmd=kvs-fence-response;thrid=0x7ffe;rc=0;");
}

#[test]
fn semicolons_are_doubled() {
    let answer = answered("cmd=info-getjobattr;key=k;", &Reply::Value(b";a;"));
    assert_eq!(answer, "    57cmd=info-getjobattr-response;found=TRUE;value=;;a;;;rc=0;");
}

#[test]
fn errors_are_one_word_in_pmi1() {
    let reply = Reply::Failed { code: 7, text: "the key is\ntoo long" };
    let get = answered("cmd=get key=k", &reply);
    assert_eq!(get, "cmd=get_result rc=7 msg=the_key_is_too_long value=unknown\\n");
    let put = answered("cmd=put key=k value=v", &reply);
    assert_eq!(put, "cmd=put_result rc=7 msg=the_key_is_too_long\\n");
    let get = answered("cmd=get key=my key", &Reply::NotFound { key: b"my key" });
    assert_eq!(get, "cmd=get_result rc=-1 msg=key_my_key_not_found value=unknown\\n");
}

#[test]
fn errors_are_sentences_in_pmi2() {
    let reply = Reply::Failed { code: 7, text: "too long; cut it" };
    let put = answered("cmd=kvs-put;key=k;value=v;", &reply);
    assert_eq!(put, "    51cmd=kvs-put-response;rc=7;errmsg=too long;; cut it;");
}

#[test]
fn what_cannot_be_carried_is_a_failure() {
    let line = answered("cmd=get key=k", &Reply::Value(b"a\nb"));
    let expected = "cmd=get_result rc=-1 msg=the_answer_has_a_newline,_which_PMI-1_cannot_carry value=unknown\\n";
    assert_eq!(line, expected);
    for request in ["cmd=get key=k", "cmd=kvs-get;key=k;"] {
        let answer = answered(request, &Reply::Value(b"a\0b"));
        assert!(answer.contains("rc=-1") && answer.contains("NUL"), "{answer}");
        let answer = answered(request, &Reply::Value(&[b'v'; 100_000]));
        assert!(answer.contains("rc=-1") && answer.contains("long"), "{answer}");
    }
}

#[test]
fn names_are_published_and_looked_up() {
    assert_eq!(
        answered("cmd=publish_name service=my service port=p", &Reply::Done),
        "cmd=publish_result rc=0\\n"
    );
    let found = answered("cmd=lookup_name service=s", &Reply::Value(b"p"));
    assert_eq!(found, "cmd=lookup_result port=p rc=0\\n");
    let missing = answered("cmd=lookup_name service=s", &Reply::NotFound { key: b"s" });
    assert_eq!(missing, "cmd=lookup_result rc=-1 msg=key_s_not_found\\n");
    let found = answered("cmd=name-lookup;name=s;", &Reply::Value(b"p"));
    assert_eq!(found, "    45cmd=name-lookup-response;value=p;port=p;rc=0;");
    let missing = answered("cmd=name-lookup;name=s;", &Reply::NotFound { key: b"s" });
    assert_eq!(missing, "    48cmd=name-lookup-response;rc=-1;errmsg=not found;");
}

#[test]
fn spawned_processes_are_told() {
    let reply = Reply::Spawned { job: b"kvs_1", errors: &[] };
    let lines = "mcmd=spawn\nnprocs=1\nexecname=a\ntotspawns=1\nendcmd";
    assert_eq!(answered(lines, &reply), "cmd=spawn_result rc=0\\n");
    let message = "cmd=spawn;ncmds=1;subcmd=a;maxprocs=1;";
    assert_eq!(answered(message, &reply), "    44cmd=spawn-response;rc=0;jobid=kvs_1;nerrs=0;");
    let reply = Reply::Spawned { job: b"kvs_1", errors: &[0, -1] };
    assert_eq!(answered(lines, &reply), "cmd=spawn_result rc=0 errcodes=0,-1\\n");
    let told = answered(message, &reply);
    assert_eq!(told, "    59cmd=spawn-response;rc=0;jobid=kvs_1;nerrs=2;err0=0;err1=-1;");
}

#[test]
fn old_requests_have_their_answers() {
    let pair = Reply::Pair { key: b"k", value: b"a b", next: 4 };
    let line = answered("cmd=getbyidx kvsname=x idx=3", &pair);
    assert_eq!(line, "cmd=getbyidx_results rc=0 nextidx=4 key=k val=a b\\n");
    assert_eq!(answered("cmd=create_kvs", &Reply::Name(b"x")), "cmd=newkvs kvsname=x rc=0\\n");
    let line = answered("cmd=destroy_kvs kvsname=x", &Reply::Done);
    assert_eq!(line, "cmd=kvs_destroyed rc=0 msg=success\\n");
    let line = answered("cmd=nonsense", &Reply::Failed { code: -1, text: "unknown command" });
    assert_eq!(line, "cmd=unknown_command rc=-1 msg=unknown_command\\n");
}

#[test]
fn an_abort_has_no_answer() {
    assert_eq!(answered("cmd=abort exitcode=3 message=it broke", &Reply::Done), "");
    assert_eq!(answered("cmd=abort;isworld=TRUE;msg=it broke;", &Reply::Done), "");
}
