//! Questions to other programs, which may be slow, talkative or broken.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a program may take to say its version: compiler wrappers start a compiler.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most that is read of an answer. A loader's list of a large program has some ten thousand bytes.
const ANSWER_MAX: u64 = 1 << 20;

/// What a program writes to stdout and stderr, in the order of writing. `None` if it cannot be run, or does not end in
/// time. Our environment stays out of it, but for what `command` sets: a question must not become part of a job.
pub fn answer(mut command: Command) -> Option<String> {
    let (reader, writer) = io::pipe().ok()?;
    let own: Vec<_> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    command.env_clear().envs(passed_on()).envs(own);
    command.stdin(Stdio::null()).stdout(writer.try_clone().ok()?).stderr(writer);
    let mut child = command.spawn().ok()?;
    // With it go our ends of the pipe.
    drop(command);
    let text = read(reader);
    end(&mut child);
    text
}

/// What the loader and shell scripts need.
fn passed_on() -> impl Iterator<Item = (&'static str, std::ffi::OsString)> {
    let names = ["PATH", "HOME", "LD_LIBRARY_PATH"];
    names.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)))
}

fn read(reader: io::PipeReader) -> Option<String> {
    let (done, finished) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let outcome = reader.take(ANSWER_MAX).read_to_end(&mut bytes);
        let _ = done.send(outcome.map(|_| bytes));
    });
    let bytes = finished.recv_timeout(PATIENCE).ok()?.ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// It has closed its output, or is late.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Option<String> {
        let mut command = Command::new("sh");
        command.args(["-c", script]).env("QUESTION", "asked");
        answer(command)
    }

    #[test]
    fn both_streams_are_read_and_the_environment_is_not_passed_on() {
        assert_eq!(shell("echo one; echo two >&2").as_deref(), Some("one\ntwo\n"));
        let environment = shell("env").unwrap();
        assert!(!environment.contains("CARGO"), "{environment}");
        assert!(environment.contains("QUESTION=asked"), "{environment}");
    }

    #[test]
    fn who_cannot_be_run_says_nothing() {
        assert_eq!(answer(Command::new("/no/such/program")), None);
    }
}
