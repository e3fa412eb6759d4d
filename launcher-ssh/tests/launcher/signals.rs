//! Signals to the launcher.

use nix::sys::signal::Signal;

use crate::harness::{Job, Notes, state, wait_for};

/// Writes its process id to a file of its own, then does `then`.
fn noted(notes: &Notes, then: &str) -> String {
    format!("echo $$ > {}/$PMI_RANK; {then}", notes.directory())
}

#[test]
fn signals_that_end_a_job_give_128_and_the_signal() {
    for (signal, code) in [
        (Signal::SIGINT, 130),
        (Signal::SIGTERM, 143),
        (Signal::SIGQUIT, 131),
        (Signal::SIGHUP, 129),
    ] {
        let notes = Notes::new();
        let job = Job::start(&["-n", "3", "sh", "-c", &noted(&notes, "ulimit -c 0; sleep 100")]);
        let ranks = notes.numbers(3);
        job.signal(signal);
        let done = job.finish();
        done.expect(code, &[]);
        assert_eq!(done.stderr, format!("pmi-ssh: ended by {signal}\n"));
        assert!(ranks.iter().all(|rank| state(*rank).is_none()));
    }
}

#[test]
fn ranks_may_handle_a_signal_and_succeed() {
    let notes = Notes::new();
    let handler =
        "trap 'echo saved; exit 0' TERM; echo $$ > $0/$PMI_RANK; while :; do sleep 0.01; done";
    let job = Job::start(&["-n", "2", "sh", "-c", handler, notes.directory()]);
    notes.numbers(2);
    job.signal(Signal::SIGTERM);
    let done = job.finish();
    done.expect(0, &[]);
    assert_eq!(done.stdout, "saved\nsaved\n");
    // (The shells may say that their `sleep` was terminated, too.)
    assert!(!done.stderr.contains("pmi-ssh"), "{done:?}");
}

#[test]
fn user_signals_are_passed_on() {
    let notes = Notes::new();
    let handler = "trap 'echo one' USR1; trap 'echo two; exit 0' USR2; echo $$ > $0/$PMI_RANK
        while :; do sleep 0.01; done";
    let mut command = crate::harness::launcher();
    command.args(["sh", "-c", handler, notes.directory()]);
    let job = Job::of(&mut command);
    notes.numbers(1);
    job.signal(Signal::SIGUSR1);
    std::thread::sleep(std::time::Duration::from_millis(200));
    job.signal(Signal::SIGUSR2);
    let done = job.finish();
    done.expect(0, &[]);
    assert_eq!(done.stdout, "one\ntwo\n");
}

#[test]
fn a_second_interrupt_kills() {
    let notes = Notes::new();
    let stubborn = noted(&notes, "trap '' INT; while :; do sleep 100; done");
    let job = Job::start(&["-n", "2", "sh", "-c", &stubborn.replace("echo", "trap '' INT; echo")]);
    notes.numbers(2);
    job.signal(Signal::SIGINT);
    std::thread::sleep(std::time::Duration::from_millis(100));
    job.signal(Signal::SIGINT);
    job.finish().expect(130, &["ended by SIGINT"]);
}

#[test]
fn a_job_is_stopped_and_goes_on() {
    let notes = Notes::new();
    let job = Job::start(&[
        "-n",
        "2",
        "sh",
        "-c",
        &noted(&notes, "while [ ! -e $0/go ]; do :; done"),
        notes.directory(),
    ]);
    let mut all = notes.numbers(2);
    all.push(job.pid());
    job.signal(Signal::SIGTSTP);
    let all_are = |wanted: fn(char) -> bool| {
        let states = all.iter().map(|pid| state(*pid).unwrap().0);
        states.into_iter().all(wanted).then_some(())
    };
    wait_for("everybody to stop", || all_are(|letter| letter == 'T'));
    job.signal(Signal::SIGCONT);
    wait_for("everybody to go on", || all_are(|letter| letter != 'T'));
    std::fs::write(notes.path("go"), "").unwrap();
    job.finish().expect(0, &[]);
}

#[test]
fn an_ignored_hangup_stays_ignored() {
    let notes = Notes::new();
    let program = env!("CARGO_BIN_EXE_pmi-ssh");
    let script = noted(&notes, "while [ ! -e $0/go ]; do sleep 0.01; done");
    drop(crate::harness::launcher());
    let mut nohup = std::process::Command::new("sh");
    nohup.args(["-c", "trap '' HUP; exec \"$@\"", "sh", program, "-n", "2", "sh", "-c", &script]);
    let job = Job::of(nohup.arg(notes.directory()));
    notes.numbers(2);
    job.signal(Signal::SIGHUP);
    std::thread::sleep(std::time::Duration::from_millis(100));
    std::fs::write(notes.path("go"), "").unwrap();
    job.finish().expect(0, &[]);
}
