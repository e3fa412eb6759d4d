//! Help, man page, and what is said to a bad command line.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::harness::{launcher, output, run};

#[test]
fn help_version_and_man_page_are_printed() {
    let help = run(&["--help"]);
    assert_eq!(help.code(), Some(0));
    assert!(help.stdout.contains("Usage: pmi-ssh") && help.stdout.contains("-n, -np N"));
    assert_eq!(run(&["-version"]).stdout, format!("pmi-ssh {}\n", env!("CARGO_PKG_VERSION")));
    assert!(run(&["--man"]).stdout.contains(".TH PMI-SSH 1"));
}

#[test]
fn the_man_page_renders_without_a_warning() {
    let page = output(launcher().arg("--man")).stdout;
    let mut command = Command::new("man");
    command.args(["--warnings", "-l", "-"]).env("LC_ALL", "C.UTF-8").env("MANWIDTH", "100");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut man) = command.spawn() else { return };
    man.stdin.take().unwrap().write_all(&page).unwrap();
    let rendered = man.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&rendered.stderr), "");
    let text = String::from_utf8(rendered.stdout).unwrap();
    assert!(text.contains("SYNOPSIS") && text.contains("-port-range LOW-HIGH"), "{text}");
}

#[test]
fn a_bad_command_line_is_explained() {
    run(&[]).expect(2, &["pmi-ssh: there is no program to run; try 'pmi-ssh --help'\n"]);
    run(&["-n", "many", "true"]).expect(2, &["-n expects a whole number", "not 'many'"]);
}

#[test]
fn a_program_that_cannot_run_is_named_before_anything_starts() {
    let done = run(&["-n", "2", "echo", "x", ":", "no-such-program"]);
    done.expect(127, &["program 'no-such-program' not found: it is not in PATH"]);
    assert_eq!(done.stdout, "");
    run(&["/etc/passwd"]).expect(126, &["cannot execute '/etc/passwd': permission denied"]);
    run(&["-wdir", "/no/where", "true"]).expect(1, &["cannot use working directory '/no/where'"]);
}

#[test]
fn a_script_without_a_first_line_runs_and_a_broken_one_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let script = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let plain = script("plain", "echo $1 from $0\n");
    assert_eq!(run(&[&plain, "hello"]).stdout, format!("hello from {plain}\n"));
    let broken = script("broken", "#!/no/such/interpreter\n");
    run(&["-n", "3", &broken]).expect(127, &["on host", "is the interpreter it needs"]);
}

#[test]
fn a_taken_port_is_named() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let range = format!("{port}-{port}");
    let done = run(&["-port-range", &range, "true"]);
    done.expect(1, &["cannot bind the key-value server to 127.0.0.1", &range, "-port-range"]);
    run(&["-bind", "192.0.2.1", "true"]).expect(1, &["192.0.2.1"]);
}
