//! What our programs answer: `export NAME=value`, `unset NAME` and `print TEXT`, one on each line, as Slurm's task
//! prologs do.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

/// One line of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Set this variable.
    Export(OsString, OsString),
    /// Remove this variable.
    Unset(OsString),
    /// Tell the user.
    Print(String),
}

/// Runs a program of ours. Its standard error is ours.
///
/// # Errors
/// The program cannot be run, or it has failed: what it says about that.
pub fn ask(command: &mut Command) -> Result<Vec<Word>, String> {
    let program = command.get_program().display().to_string();
    let failed = |error: io::Error| format!("cannot run {program}: {error}");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().map_err(failed)?;
    let mut answer = Vec::new();
    let heard = child.stdout.take().map_or(Ok(0), |mut stdout| stdout.read_to_end(&mut answer));
    // The kernel does not keep it where SIGCHLD is ignored; the answer says enough then.
    let status = child.wait().ok();
    heard.map_err(failed)?;
    let words = parse(&answer);
    let complaint = words.iter().find_map(|word| match word {
        Word::Print(text) => Some(text.clone()),
        _ => None,
    });
    match (complaint, status) {
        (None, Some(status)) if !status.success() => Err(format!("{program} has failed: {status}")),
        (Some(complaint), status) if status.is_none_or(|status| !status.success()) => {
            Err(complaint)
        }
        _ => Ok(words),
    }
}

fn parse(answer: &[u8]) -> Vec<Word> {
    answer.split(|byte| *byte == b'\n').filter_map(word).collect()
}

fn word(line: &[u8]) -> Option<Word> {
    let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    if let Some(assignment) = line.strip_prefix(b"export ") {
        let at = assignment.iter().position(|byte| *byte == b'=')?;
        return Some(Word::Export(text(&assignment[..at]), text(&assignment[at + 1..])));
    }
    if let Some(name) = line.strip_prefix(b"unset ") {
        return Some(Word::Unset(text(name)));
    }
    let told = line.strip_prefix(b"print ")?;
    Some(Word::Print(String::from_utf8_lossy(told).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<Vec<Word>, String> {
        ask(Command::new("/bin/sh").args(["-c", script]))
    }

    #[test]
    fn an_answer_is_read_line_by_line() {
        let words = shell("printf 'export A=1=2\\nunset B\\nexport C=\\nnonsense\\nexport D\\n'");
        let export = |name: &str, value: &str| Word::Export(name.into(), value.into());
        assert_eq!(words, Ok(vec![export("A", "1=2"), Word::Unset("B".into()), export("C", "")]));
    }

    #[test]
    fn a_failure_is_what_the_program_says_of_it() {
        assert_eq!(shell("echo print no luck; exit 1"), Err("no luck".to_owned()));
        assert_eq!(shell("exit 3"), Err("/bin/sh has failed: exit status: 3".to_owned()));
        let missing = ask(&mut Command::new("/no/such/program")).unwrap_err();
        assert!(missing.starts_with("cannot run /no/such/program: No such file"), "{missing}");
    }
}
