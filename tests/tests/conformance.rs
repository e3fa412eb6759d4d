//! The C programs of `tests/c`, under Slurm's libpmi and under ours. Where the two differ on purpose, the
//! difference stands here with its reason; any other difference fails.

use pmi_tests::conform::{Library, Program, compare_with_file};

/// A line of Slurm's output, what we print instead, and why.
#[derive(Clone, Copy)]
struct Difference {
    theirs: &'static str,
    ours: &'static str,
    #[allow(dead_code, reason = "for the reader")]
    because: &'static str,
}

const fn differs(theirs: &'static str, ours: &'static str, because: &'static str) -> Difference {
    Difference { theirs, ours, because }
}

/// Runs a program under both libraries and compares line by line. Slurm's keeps only the first value of a key
/// unless it is told that keys can be put twice.
fn compare(name: &str, expected: &[Difference]) {
    let program = Program::compile(name, Library::Pmi);
    let theirs = program.under(Library::Pmi.slurms()).env("SLURM_PMI_KVS_DUP_KEYS", "1").run();
    let ours = program.under_ours().run();
    theirs.assert_success();
    ours.assert_success();
    let (theirs, ours): (Vec<_>, Vec<_>) =
        (theirs.stdout.lines().collect(), ours.stdout.lines().collect());
    assert_eq!(theirs.len(), ours.len(), "as many lines\n{theirs:#?}\n{ours:#?}");
    let found: Vec<_> =
        theirs.into_iter().zip(ours).filter(|(theirs, ours)| theirs != ours).collect();
    let expected: Vec<_> =
        expected.iter().map(|difference| (difference.theirs, difference.ours)).collect();
    assert_eq!(found, expected, "{name}: (Slurm's, ours)");
}

#[test]
fn calls_outside_the_membership() {
    compare("outside", &[]);
}

#[test]
fn limits() {
    let line = differs(
        "id length max 16",
        "id length max 256",
        "our id is the kvsname, which may be longer than Slurm's job.step",
    );
    compare("limits", &[line; 3]);
}

#[test]
fn a_process_outside_any_job() {
    compare("singleton", &[]);
}

#[test]
fn pairs() {
    compare(
        "pairs",
        &[
            differs(
                r#"PMI_KVS_Put(kvsname, "", "value"): PMI_SUCCESS"#,
                r#"PMI_KVS_Put(kvsname, "", "value"): PMI_ERR_INVALID_KEY"#,
                "an empty key marks the end of an iteration",
            ),
            differs(
                r#"PMI_KVS_Commit("no such kvsname"): PMI_SUCCESS"#,
                r#"PMI_KVS_Commit("no such kvsname"): PMI_ERR_INVALID_ARG"#,
                "Slurm commits all spaces whatever the name; a wrong name is a mistake worth telling",
            ),
        ],
    );
}

#[test]
fn spaces() {
    let destroyed = "Slurm lets a destroyed space be used for everything but reading";
    compare(
        "spaces",
        &[
            differs(
                r#"PMI_KVS_Put(first, "key", "value"): PMI_SUCCESS"#,
                r#"PMI_KVS_Put(first, "key", "value"): PMI_ERR_INVALID_KVS"#,
                destroyed,
            ),
            differs(
                "PMI_KVS_Commit(first): PMI_SUCCESS",
                "PMI_KVS_Commit(first): PMI_ERR_INVALID_ARG",
                destroyed,
            ),
            differs(
                "PMI_KVS_Destroy(first): PMI_SUCCESS",
                "PMI_KVS_Destroy(first): PMI_ERR_INVALID_ARG",
                destroyed,
            ),
            differs(
                "PMI_KVS_Destroy(own): PMI_SUCCESS",
                "PMI_KVS_Destroy(own): PMI_ERR_INVALID_ARG",
                "the group's own space was not made by PMI_KVS_Create, and other ranks rely on it",
            ),
        ],
    );
}

#[test]
fn iteration() {
    compare("iterate", &[]);
}

#[test]
fn command_lines() {
    let count =
        "Slurm counts arguments that it did not parse; pmi.h says that the number is 0 then";
    compare(
        "keyvals",
        &[
            differs(
                r#"parse "PMI_a=1", "PMI_b=2", "rest": code 0, parsed 4, size 2"#,
                r#"parse "PMI_a=1", "PMI_b=2", "rest": code 0, parsed 2, size 2"#,
                count,
            ),
            differs(
                r#"parse "rest", "PMI_a=1": code 0, parsed 2, size 0"#,
                r#"parse "rest", "PMI_a=1": code 0, parsed 0, size 0"#,
                count,
            ),
            differs(
                r#"parse "PMI_=3": code 0, parsed 1, size 0"#,
                r#"parse "PMI_=3": code 0, parsed 0, size 0"#,
                count,
            ),
            differs(
                r#"parse "a=b": code 0, parsed 1, size 0"#,
                r#"parse "a=b": code 0, parsed 0, size 0"#,
                count,
            ),
            differs(
                "  [PMI_a] = [x ]",
                "  [PMI_a] = [x y]",
                "Slurm cuts a value after its first space",
            ),
        ],
    );
}

#[test]
fn spawning_and_names() {
    let checked = "Slurm checks nothing but the commands before it fails";
    compare(
        "spawning",
        &[
            differs(
                "PMI_Spawn_multiple(0, commands, vectors, processes, info_sizes, infos, 0, NULL, errors): PMI_FAIL",
                "PMI_Spawn_multiple(0, commands, vectors, processes, info_sizes, infos, 0, NULL, errors): PMI_ERR_INVALID_ARG",
                checked,
            ),
            differs(
                "PMI_Spawn_multiple(1, commands, vectors, NULL, info_sizes, infos, 0, NULL, errors): PMI_FAIL",
                "PMI_Spawn_multiple(1, commands, vectors, NULL, info_sizes, infos, 0, NULL, errors): PMI_ERR_INVALID_ARG",
                checked,
            ),
            differs(
                "PMI_Spawn_multiple(1, commands, vectors, processes, info_sizes, infos, 1, NULL, errors): PMI_FAIL",
                "PMI_Spawn_multiple(1, commands, vectors, processes, info_sizes, infos, 1, NULL, errors): PMI_ERR_INVALID_ARG",
                checked,
            ),
        ],
    );
}

#[test]
fn arguments_that_crash_slurms_library() {
    compare_with_file("hostile", Library::Pmi);
}

#[test]
fn names_of_the_draft_paper() {
    compare_with_file("draft", Library::Pmi).assert_says(&["PMI_Spawn", "cannot create processes"]);
}

#[test]
fn a_forked_child_is_no_member() {
    compare_with_file("forked", Library::Pmi).assert_says(&["PMI_Init", "is a fork of rank 0"]);
}

#[test]
fn loading_and_unloading_leaves_nothing() {
    compare_with_file("loading", Library::Pmi);
}

/// Runs `limits`, which needs nothing but `PMI_Init`, in an environment that must be refused.
fn assert_refused(program: &Program, environment: &[(&str, &str)], texts: &[&str]) {
    let job =
        environment.iter().fold(program.under_ours(), |job, (name, value)| job.env(name, value));
    let outcome = job.run();
    outcome.assert_code(99).assert_says(&["pmi: ", "PMI_Init"]).assert_says(texts);
}

#[test]
fn bad_environments_are_refused_by_name() {
    let program = Program::compile("limits", Library::Pmi);
    let ranks = [("PMI_RANK", "0"), ("PMI_SIZE", "2")];
    for (environment, texts) in [
        (&[("PMI_RANK", "abc"), ("PMI_SIZE", "4")][..], &["PMI_RANK=abc", "whole number"][..]),
        (&[("PMI_RANK", "4"), ("PMI_SIZE", "4")], &["PMI_RANK=4", "PMI_SIZE=4"]),
        (&[("PMI_RANK", "4")], &["PMI_SIZE is not"]),
        (&ranks, &["rank 0 of 2", "pmi-ssh", "PMI_KVS_SERVER"]),
        (&[ranks[0], ranks[1], ("PMI_KVS_JOB", "job")], &["PMI_KVS_SERVER and PMI_KVS_SECRET"]),
    ] {
        assert_refused(&program, environment, texts);
    }
    let server = |address: &'static str, secret: &'static str| {
        [
            ranks[0],
            ranks[1],
            ("PMI_KVS_SERVER", address),
            ("PMI_KVS_JOB", "job"),
            ("PMI_KVS_SECRET", secret),
        ]
    };
    assert_refused(&program, &server("127.0.0.1:1", "xyz"), &["PMI_KVS_SECRET", "64 hex digits"]);
    let secret = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    assert_refused(&program, &server("nowhere", secret), &["PMI_KVS_SERVER=nowhere", "host:port"]);
}

#[test]
fn tracing_goes_to_stderr_and_names_calls_and_codes() {
    let outcome = Program::compile("limits", Library::Pmi).under_ours().env("PMI_DEBUG", "1").run();
    outcome.assert_success().assert_says(&["pmi: ", "PMI_Init(spawned=ptr)"]);
    outcome.assert_says(&["PMI_Init -> 0"]);
    outcome.assert_says(&["PMI_KVS_Get_name_length_max(length=NULL)"]);
    assert!(!outcome.stdout.contains("pmi:"), "{}", outcome.stdout);
}

#[test]
fn ranks_exchange() {
    let program = Program::compile("exchange", Library::Pmi);
    for ranks in [1, 2, 7, 16] {
        program.ranks(ranks).run().assert_each_says(ranks, ": exchanged");
    }
}

#[test]
fn a_job_of_one_answers_like_a_process_outside_any_job() {
    for name in ["outside", "limits", "pairs", "spaces", "iterate", "forked", "hostile", "draft"] {
        let program = Program::compile(name, Library::Pmi);
        let (job, alone) = (program.ranks(1).run(), program.under_ours().run());
        assert_eq!(job.assert_success().stdout, alone.assert_success().stdout, "{name}");
    }
}

#[test]
fn a_rank_that_has_left_cannot_come_back() {
    let outcome = Program::compile("singleton", Library::Pmi).ranks(1).run();
    outcome.assert_says(&["PMI_Init", "has left its job"]);
}

#[test]
fn a_space_of_one_rank_serves_all() {
    let outcome = Program::compile("shared_space", Library::Pmi).ranks(5).run();
    outcome.assert_each_says(5, ": shared");
}

#[test]
fn abort_works_while_a_barrier_blocks() {
    let outcome = Program::compile("abort", Library::Pmi).ranks(4).arg("42").run();
    outcome.assert_code(42).assert_says(&["rank 0", "PMI_Abort(42): by intent"]);
}

#[test]
fn abort_of_a_singleton_exits_with_the_code() {
    let outcome = Program::compile("abort", Library::Pmi).under_ours().arg("3").run();
    outcome.assert_code(3).assert_says(&["PMI_Abort(3): by intent"]);
}
