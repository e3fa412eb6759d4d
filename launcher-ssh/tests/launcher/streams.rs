//! Standard input, output and error.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use nix::pty::openpty;

use crate::harness::{Job, launcher, run, wait};

#[test]
fn standard_input_goes_to_rank_0_only() {
    let mut command = launcher();
    command.args(["-l", "-n", "3", "cat"]).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let text: String = (0..200_000).map(|n| format!("{n}\n")).collect();
    let expected: String = (0..200_000).map(|n| format!("[0] {n}\n")).collect();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let mut got = String::new();
    child.stdout.take().unwrap().read_to_string(&mut got).unwrap();
    writer.join().unwrap().unwrap();
    assert!(wait(&mut child).success());
    assert!(got == expected);
}

#[test]
fn a_rank_that_does_not_read_its_input_holds_nobody_up() {
    let mut command = launcher();
    command.args(["-n", "2", "sh", "-c", "exec <&-; sleep 0.1; echo done"]).stdin(Stdio::piped());
    command.stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // More than two pipes hold: what nobody wants must neither block nor end anything.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&vec![b'x'; 1 << 20])));
    let mut got = String::new();
    child.stdout.take().unwrap().read_to_string(&mut got).unwrap();
    assert!(wait(&mut child).success());
    writer.join().unwrap();
    assert_eq!(got, "done\ndone\n");
}

#[test]
fn lines_of_many_ranks_are_never_mixed() {
    let program =
        "i=0; while [ $i -lt 12500 ]; do echo \"rank $PMI_RANK line $i end\"; i=$((i+1)); done";
    let done = run(&["-n", "8", "sh", "-c", program]);
    assert_eq!(done.code(), Some(0));
    let mut next = [0; 8];
    for line in done.stdout.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let [_, rank, _, number, "end"] = words[..] else { panic!("a mixed line: '{line}'") };
        let rank: usize = rank.parse().unwrap();
        assert_eq!(number.parse(), Ok(next[rank]), "{line}");
        next[rank] += 1;
    }
    assert_eq!(next, [12_500; 8]);
}

#[test]
fn output_written_in_pieces_is_put_together() {
    let program = "printf a; sleep 0.1; printf 'b\\nc'; printf error >&2";
    let done = run(&["-n", "2", "-l", "sh", "-c", program]);
    assert_eq!(done.sorted(), ["[0] ab", "[0] c", "[1] ab", "[1] c"]);
    assert!(matches!(&*done.stderr, "[0] error\n[1] error" | "[1] error\n[0] error"), "{done:?}");
}

#[test]
fn a_slow_reader_gets_everything() {
    let mut command = launcher();
    command.args(["-n", "4", "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' 'x' | fold -w 99"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    let lines = BufReader::new(stdout).lines().map(Result::unwrap);
    let bytes: usize = lines.map(|line| line.len()).sum();
    assert_eq!(bytes, 4 * 3_000_000);
    assert!(wait(&mut child).success());
}

#[test]
fn a_job_whose_reader_has_gone_ends() {
    let mut command = launcher();
    command.args(["-n", "2", "sh", "-c", "while :; do echo x; done"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    drop(stdout);
    assert_eq!(wait(&mut child).code(), Some(141));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}

#[test]
fn a_full_disk_is_named() {
    let mut command = launcher();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    command.args(["echo", "x"]).stdout(full).stderr(Stdio::piped());
    let done = command.spawn().unwrap().wait_with_output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot write to standard output: No space left on device"), "{said}");
}

#[test]
fn a_prompt_is_shown_on_a_terminal() {
    let pty = openpty(None, None).unwrap();
    let mut command = launcher();
    command.args(["sh", "-c", "printf 'name? '; read name; echo hello $name"]);
    let mut child = command.stdin(Stdio::piped()).stdout(pty.slave).spawn().unwrap();
    let mut terminal = std::fs::File::from(pty.master);
    let mut prompt = [0; 6];
    terminal.read_exact(&mut prompt).unwrap();
    assert_eq!(&prompt, b"name? ");
    child.stdin.take().unwrap().write_all(b"rank\n").unwrap();
    let mut answer = [0; 12];
    terminal.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello rank\r\n");
    assert!(wait(&mut child).success());
}

#[test]
fn a_daemon_that_keeps_the_output_open_does_not_keep_the_job() {
    // In a session of its own it is not the job's any more; its end is the test's business.
    let notes = crate::harness::Notes::new();
    let file = notes.path("daemon");
    let daemon = format!("setsid sh -c 'echo $$ > {}; exec sleep 100' & sleep 0.2", file.display());
    let mut job = Job::start(&["sh", "-c", &daemon]);
    let pid = notes.numbers(1)[0];
    let status = job.wait();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    assert_eq!(status.code(), Some(0));
}
