//! Recorded exchanges of real programs.

use std::fs;
use std::path::PathBuf;

/// One line of a recording.
pub struct Step {
    /// `None` for a client that has not said yet who it is, or the only one.
    pub rank: Option<usize>,
    pub sender: Sender,
    pub bytes: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    Client,
    Server,
}

pub struct Recording {
    pub name: String,
    text: String,
}

impl Recording {
    /// What a comment `# name value` says.
    pub fn says(&self, name: &str) -> &str {
        let mut comments = self.text.lines().filter_map(|line| line.strip_prefix("# "));
        let value = comments.find_map(|comment| comment.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{} says nothing of {name}", self.name))
    }

    pub fn steps(&self) -> Vec<Step> {
        self.text.lines().filter(|line| !line.starts_with('#')).map(step).collect()
    }
}

/// All recordings in a directory below `fixtures`.
pub fn recordings(directory: &str) -> Vec<Recording> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(directory);
    let entries = fs::read_dir(path).expect("the fixtures are there");
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("and readable").path()).collect();
    paths.sort();
    let read = |path: PathBuf| Recording {
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        text: fs::read_to_string(&path).expect("recordings are text"),
    };
    paths.into_iter().map(read).collect()
}

/// `[2] C> cmd=get …\n`, `[?] S> …`, or without a rank.
fn step(line: &str) -> Step {
    let (rank, line) = match line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((rank, line)) => (rank.parse().ok(), line),
        None => (None, line),
    };
    let (sender, text) = match line.split_once("> ") {
        Some(("C", text)) => (Sender::Client, text),
        Some(("S", text)) => (Sender::Server, text),
        _ => panic!("no line of a recording: {line}"),
    };
    Step { rank, sender, bytes: bytes(text) }
}

/// Takes the escapes `\n` and `\x00` out.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut parts = text.split('\\');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let (byte, rest) = match part.as_bytes() {
            [b'n', rest @ ..] => (b'\n', rest),
            [b'x', high, low, rest @ ..] => (hexadecimal(*high) * 16 + hexadecimal(*low), rest),
            other => panic!("no escape: {}", other.escape_ascii()),
        };
        bytes.push(byte);
        bytes.extend_from_slice(rest);
    }
    bytes
}

fn hexadecimal(digit: u8) -> u8 {
    char::from(digit).to_digit(16).expect("two digits follow an x") as u8
}
