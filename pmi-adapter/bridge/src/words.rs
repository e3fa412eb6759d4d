//! What a task prolog says to Slurm, and does to an environment with it: `export NAME=value` and `unset NAME`, one on
//! each line (srun(1), `--task-prolog`).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::task::Environment;

/// Does to an environment what Slurm does with a prolog's words.
pub fn apply(environment: &mut Environment, words: &[u8]) {
    for line in words.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_start) {
        if let Some(assignment) = line.strip_prefix(b"export ") {
            let mut parts = assignment.trim_ascii_start().splitn(2, |byte| *byte == b'=');
            if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                environment.insert(os_string(name), os_string(value));
            }
        } else if let Some(name) = line.strip_prefix(b"unset ") {
            environment.remove(OsStr::from_bytes(name.trim_ascii()));
        }
    }
}

fn os_string(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

/// Says in Slurm's words how to get from one environment to the other.
pub fn differences(before: &Environment, after: &Environment, words: &mut Vec<u8>) {
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        words.extend([b"unset ", name.as_bytes(), b"\n"].concat());
    }
    for (name, value) in after.iter().filter(|(name, value)| before.get(*name) != Some(value)) {
        words.extend([b"export ", name.as_bytes(), b"=", value.as_bytes(), b"\n"].concat());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(words: &str) -> Environment {
        let pairs = words.split_whitespace().map(|word| word.split_once('=').unwrap());
        pairs.map(|(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn only_what_differs_is_said() {
        let mut words = Vec::new();
        let (before, after) = (environment("A=1 B=2 C=3"), environment("A=1 B=4 D=5=6"));
        differences(&before, &after, &mut words);
        assert_eq!(String::from_utf8(words).unwrap(), "unset C\nexport B=4\nexport D=5=6\n");
    }

    #[test]
    fn the_users_words_are_read_as_slurm_reads_them() {
        let mut found = environment("A=1 B=2");
        apply(&mut found, b"export C=x\nprint hello\nunset A\n export B=3=4\nexport nothing\n");
        assert_eq!(found, environment("B=3=4 C=x"));
    }
}
