//! Ranks that speak the wire protocol themselves: what they are answered, and what happens when they misbehave.

use nix::sys::signal::Signal;
use pmi_tests::{Job, Outcome, Starter, c_program, source_tree};

/// The starters that put a bridge beside a rank: one for all ranks, one for each, and both over TCP.
const STARTERS: [Starter; 4] =
    [Starter::PmiSsh, Starter::ForkLoop, Starter::PmiSshPort, Starter::ForkLoopPort];

/// A rank that is this script.
fn rank(job: Job, script: &str) -> Job {
    let client = source_tree().join("tests/programs/wire.sh");
    job.args(["bash", "-c", &format!(". {}; {script}", client.display())])
}

fn under_all(ranks: u32, script: &str, check: impl Fn(&Outcome)) {
    for starter in STARTERS {
        eprintln!("under {starter:?}");
        check(&rank(starter.job(ranks), script).run());
    }
}

#[test]
fn a_client_is_told_its_maxima_its_place_and_its_job() {
    let script = "[ -n \"${PMI_ID:-}\" ] && ask \"cmd=initack pmiid=$PMI_ID\" && \
                  for i in 1 2 3; do read -r -u $PMI_FD line; echo $line; done; join && \
                  ask cmd=get_maxes && ask cmd=get_appnum && ask cmd=get_universe_size && \
                  ask \"cmd=get kvsname=$(name) key=PMI_process_mapping\" && leave";
    under_all(1, script, |outcome| {
        outcome.assert_success();
        for line in [
            "cmd=maxes kvsname_max=256 keylen_max=64 vallen_max=1024 rc=0",
            "cmd=appnum appnum=0 rc=0",
            "cmd=universe_size size=1 rc=0",
            "cmd=get_result rc=0 msg=success value=(vector,(0,1,1))",
        ] {
            assert!(outcome.stdout.contains(line), "{line}\n{}", outcome.stdout);
        }
    });
}

/// Identifies itself where that is needed, joins, and knows its kvsname.
const JOIN: &str = "[ -z \"${PMI_ID:-}\" ] || { ask \"cmd=initack pmiid=$PMI_ID\" >&2; \
                    for i in 1 2 3; do read -r -u $PMI_FD line; done; }; join && k=$(name)";

#[test]
fn values_with_spaces_and_none_at_all_reach_the_others() {
    let script = format!(
        "{JOIN} && ask \"cmd=put kvsname=$k key=s$PMI_RANK value=a b  c=d \" >&2 && \
         ask \"cmd=put kvsname=$k key=e$PMI_RANK value=\" >&2 && ask cmd=barrier_in >&2 && \
         o=$((1 - PMI_RANK)) && ask \"cmd=get kvsname=$k key=s$o\" | sed 's/$/|/' && \
         ask \"cmd=get kvsname=$k key=e$o\" | sed 's/$/|/' && ask \"cmd=get kvsname=$k key=none\" && leave"
    );
    under_all(2, &script, |outcome| {
        outcome.assert_success();
        let count = |line: &str| outcome.stdout.lines().filter(|found| *found == line).count();
        assert_eq!(
            count("cmd=get_result rc=0 msg=success value=a b  c=d |"),
            2,
            "{}",
            outcome.stdout
        );
        assert_eq!(count("cmd=get_result rc=0 msg=success value=|"), 2, "{}", outcome.stdout);
        assert_eq!(count("cmd=get_result rc=-1 msg=key_none_not_found value=unknown"), 2);
    });
}

#[test]
fn a_value_that_is_too_long_ends_the_job_and_says_why() {
    let script = format!(
        "{JOIN} && if [ $PMI_RANK = 1 ]; then ask \"cmd=put kvsname=$k key=big value=$(printf %1025s x)\"; fi; \
         ask cmd=barrier_in | grep -q rc=0 && leave"
    );
    under_all(2, &script, |outcome| {
        outcome.assert_failure().assert_says(&["rank 1", "'big'", "1024 characters"]);
    });
}

#[test]
fn calls_before_init_and_after_finalize_are_refused() {
    let script = "ask 'cmd=get kvsname=x key=y'; join; leave; ask 'cmd=barrier_in'";
    let outcome = rank(Starter::PmiSsh.job(1), script).run();
    outcome.assert_success().assert_says(&["rank 0", "'init' comes first"]);
    outcome.assert_says(&["rank 0", "cannot come back"]);
    assert_eq!(outcome.stdout.matches("rc=-1").count(), 2, "{}", outcome.stdout);
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let script = "join; ask 'cmd=publish_name service=a port=b'; ask 'cmd=create_kvs'; ask 'cmd=juggle'; leave";
    let outcome = rank(Starter::PmiSsh.job(1), script).run();
    outcome.assert_success().assert_says(&["name publishing"]).assert_says(&["PMI_KVS_Create"]);
    outcome.assert_says(&["does not have"]);
}

#[test]
fn a_client_that_is_not_understood_is_cut_off_and_named() {
    let script = "trap '' PIPE; join; ask \"$(printf 'x%.0s' {1..70000})\"; exit 3";
    let outcome = rank(Starter::PmiSsh.job(1), script).run();
    outcome.assert_code(3).assert_says(&["rank 0", "not understood"]);
}

#[test]
fn a_rank_that_ends_without_finalize_ends_the_job() {
    let script =
        format!("{JOIN}; [ $PMI_RANK = 1 ] && exit 0; ask cmd=barrier_in | grep -q rc=0 && leave");
    under_all(3, &script, |outcome| {
        outcome.assert_failure().assert_says(&["rank 1", "without PMI_Finalize"]);
    });
}

#[test]
fn an_abort_ends_the_job_with_its_code() {
    let script = format!(
        "{JOIN}; [ $PMI_RANK = 1 ] && tell 'cmd=abort exitcode=9' && exit 9; \
         ask cmd=barrier_in | grep -q rc=0 && leave"
    );
    under_all(3, &script, |outcome| {
        outcome.assert_failure();
    });
    rank(Starter::PmiSsh.job(3), &script)
        .run()
        .assert_code(9)
        .assert_says(&["rank 1", "PMI_Abort(9)"]);
}

#[test]
fn a_rank_that_comes_after_the_end_is_told_why() {
    let script = format!(
        "[ $PMI_RANK = 1 ] || sleep 1; {JOIN}; [ $PMI_RANK = 1 ] && tell 'cmd=abort exitcode=9' && exit 9; exit 1"
    );
    let outcome = rank(Starter::ForkLoop.job(2), &script).run();
    outcome.assert_failure().assert_says(&["rank 0", "rank 1 on ", "called PMI_Abort with code 9"]);
}

#[test]
fn a_rank_may_come_over_the_wire_beside_one_with_our_library() {
    let script = "join && k=$(name) && for i in {0..9}; do \
                  ask \"cmd=put kvsname=$k key=wire-$i value=from the wire $i\" && ask cmd=barrier_in && \
                  ask \"cmd=get kvsname=$k key=library-$i\"; done && leave";
    let job = rank(Job::of(1), script).args([":", "-n", "1"]).arg(c_program("mixed"));
    let outcome = job.run();
    outcome.assert_success();
    for round in 0..10 {
        let line = format!("cmd=get_result rc=0 msg=success value=from the library {round}");
        assert!(outcome.stdout.contains(&line), "{line}\n{}", outcome.stdout);
    }
}

#[test]
fn node_attributes_are_shared_on_the_node_and_can_be_waited_for() {
    let script = "join2; if [ $PMI_RANK = 0 ]; then sleep 0.2; \
                  ask2 'cmd=info-putnodeattr;key=a;value=b;;c d;'; else \
                  ask2 'cmd=info-getnodeattr;key=a;wait=FALSE;'; \
                  ask2 'cmd=info-getnodeattr;key=a;wait=TRUE;'; fi; \
                  ask2 'cmd=info-getjobattr;key=universeSize;'; ask2 'cmd=kvs-fence;'; leave2";
    under_all(2, script, |outcome| {
        outcome.assert_success();
        for line in [
            "cmd=info-putnodeattr-response;rc=0;",
            "cmd=info-getnodeattr-response;found=FALSE;rc=0;",
            "cmd=info-getnodeattr-response;found=TRUE;value=b;;c d;rc=0;",
            "cmd=info-getjobattr-response;found=TRUE;value=2;rc=0;",
            "cmd=kvs-fence-response;rc=0;",
        ] {
            assert!(
                outcome.stdout.lines().any(|found| found == line),
                "{line}\n{}",
                outcome.stdout
            );
        }
    });
}

#[test]
fn who_waits_for_a_node_attribute_hears_of_a_dead_peer() {
    let script = "join2; [ $PMI_RANK = 1 ] && exit 0; ask2 'cmd=info-getnodeattr;key=never;wait=TRUE;'; exit 1";
    under_all(2, script, |outcome| {
        outcome.assert_failure().assert_says(&["rank 1", "without PMI_Finalize"]);
    });
}

#[test]
fn who_waits_for_a_node_attribute_hears_that_nobody_is_left_to_put_it() {
    let script = "join2; ask2 'cmd=kvs-fence;'; [ $PMI_RANK = 1 ] || \
         ask2 'cmd=info-getnodeattr;key=never;wait=TRUE;'; leave2";
    under_all(2, script, |outcome| {
        outcome.assert_success().assert_says(&["rank 0", "no other rank of its node is left"]);
        assert!(
            outcome.stdout.contains("cmd=info-getnodeattr-response;rc=-1;"),
            "{}",
            outcome.stdout
        );
    });
}

#[test]
fn pmi_timeout_ends_the_wait_for_a_node_attribute() {
    let script = "join2; ask2 'cmd=info-getnodeattr;key=never;wait=TRUE;'; leave2";
    for starter in [Starter::PmiSsh, Starter::ForkLoop] {
        let outcome = rank(starter.job(2).env("PMI_TIMEOUT", "1"), script).run();
        outcome.assert_success().assert_says(&["attribute never within PMI_TIMEOUT"]);
    }
}

/// Each write takes up room in the socket for hundreds of bytes, until the bridge has taken it out.
#[test]
fn requests_may_come_byte_by_byte() {
    let script = format!(
        "slowly() {{ local i; for ((i = 0; i < ${{#1}}; i++)); do printf %s \"${{1:i:1}}\" >&$PMI_FD; done; ask ''; }}; \
         {JOIN} && for n in {{1..20}}; do slowly \"cmd=get kvsname=$k key=PMI_process_mapping\"; done && \
         slowly \"cmd=put kvsname=$k key=k value=$(printf %900s x)\" && leave"
    );
    under_all(1, &script, |outcome| {
        outcome.assert_success();
        assert_eq!(outcome.stdout.matches("value=(vector").count(), 20, "{}", outcome.stdout);
    });
}

#[test]
fn a_ring_tells_each_rank_its_neighbours() {
    let script = "join2; ask2 \"cmd=ring;ring-count=1;ring-left=l$PMI_RANK;ring-right=r$PMI_RANK;\" | \
                  sed \"s/^/$PMI_RANK /\"; leave2";
    let outcome = rank(Starter::PmiSsh.job(3), script).run();
    outcome.assert_success();
    for (rank, left, right) in [(0, "r2", "l1"), (1, "r0", "l2"), (2, "r1", "l0")] {
        let found = outcome.stdout.lines().any(|line| {
            line.starts_with(&format!("{rank} cmd=ring-response"))
                && line.contains(&format!("ring-count={rank};"))
                && line.contains(&format!("ring-left={left};"))
                && line.contains(&format!("ring-right={right};"))
        });
        assert!(found, "rank {rank}\n{}", outcome.stdout);
    }
}

#[test]
fn a_wrong_pmi_id_is_not_let_in() {
    let script = "ask 'cmd=initack pmiid=0'; exec {PMI_FD}<>/dev/tcp/${PMI_PORT%:*}/${PMI_PORT##*:}; \
                  ask \"cmd=initack pmiid=$PMI_ID\"";
    let outcome = rank(Starter::PmiSshPort.job(1), script).run();
    outcome.assert_success();
    assert_eq!(outcome.stdout.lines().next(), Some("(closed)"));
    assert!(outcome.stdout.contains("cmd=initack rc=0"), "{}", outcome.stdout);
}

#[test]
fn a_bridge_that_dies_ends_the_job() {
    let script = "join; printf %s $$ >$0/rank-$PMI_RANK; ask cmd=barrier_in; sleep 60";
    let job = rank(Job::of(2), script).arg_directory().start();
    job.rank_pids(2);
    job.signal(job.process_named("pmi-bridge"), Signal::SIGKILL);
    job.finish().assert_failure().assert_says(&["serves PMI_FD", "unexpectedly"]);
}

#[test]
fn pmi_timeout_ends_a_barrier_that_one_rank_never_enters() {
    let script = format!(
        "{JOIN}; if [ $PMI_RANK = 0 ]; then ask cmd=barrier_in; exit 1; else exec sleep 60; fi"
    );
    for starter in [Starter::PmiSsh, Starter::ForkLoop] {
        let outcome = rank(starter.job(2).env("PMI_TIMEOUT", "1"), &script).run();
        outcome.assert_failure();
        assert!(outcome.stdout.contains("rc=-1"), "{}", outcome.stdout);
    }
}
