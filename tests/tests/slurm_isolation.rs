//! Jobs of two users on the same nodes at the same time: neither can join, read or disturb the other's.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use pmi_tests::slurm::{BOB, CAROL};
use pmi_tests::{Job, Running, Slurm, Way, binary, c_program, on_every_way};

on_every_way!(
    a_stranger_with_the_address_gets_no_answer,
    a_stranger_cannot_read_the_secret,
    forged_datagrams_change_nothing,
);

/// Exchanges until it is told to stop, on two hosts.
struct Victim {
    job: Running,
    environment: HashMap<String, String>,
}

impl Victim {
    fn start(way: Way) -> Victim {
        let job = way.step(BOB, &["--nodes=2", "--ntasks=2"]);
        let script = r#"env > "$2/environment-$SLURM_PROCID.part" && mv "$2/environment-$SLURM_PROCID.part" \
            "$2/environment-$SLURM_PROCID"; exec "$1" rounds "$2""#;
        let job = job.args(["sh", "-c", script, "victim"]).arg(c_program("trouble"));
        let job = job.arg_directory().start();
        job.rank_pids(2);
        let environment = fs::read_to_string(job.file("environment-1")).expect("it is written");
        let pairs = environment.lines().filter_map(|line| line.split_once('='));
        let environment = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Victim { job, environment }
    }

    fn variable(&self, name: &str) -> &str {
        self.environment.get(name).unwrap_or_else(|| panic!("the rank has no {name}"))
    }

    /// It is none the worse.
    fn finish(self) {
        fs::File::create(self.job.file("stop")).expect("the job's directory is writable");
        self.job.finish().assert_success();
        Slurm::shared_of_four().assert_nothing_left(BOB);
    }
}

/// What another user runs on a host of the victim.
fn stranger(program: &Path) -> Job {
    Slurm::shared_of_four().on("node1", CAROL, program)
}

fn a_stranger_with_the_address_gets_no_answer(way: Way) {
    let victim = Victim::start(way);
    let job =
        stranger(&binary("pmi-info")).arg("barrier").env("PMI_RANK", "1").env("PMI_SIZE", "2");
    let job = ["PMI_KVS_SERVER", "PMI_KVS_JOB"]
        .into_iter()
        .fold(job, |job, name| job.env(name, victim.variable(name)));
    let job = job.env("PMI_KVS_SECRET", "5a".repeat(32)).env("PMI_TIMEOUT", "2");
    job.run().assert_failure().assert_says(&["no answer", "PMI_KVS_SECRET"]);
    victim.finish();
}

fn a_stranger_cannot_read_the_secret(way: Way) {
    let victim = Victim::start(way);
    let script = r#"for directory in /proc/[0-9]*; do
        [ "$(stat -c %U "$directory")" = bob ] || continue
        found=1; cat "$directory/environ" "$directory/mem" && echo "$directory can be read"
        ls "$directory/fd" && echo "$directory can be looked into"
        done; [ "$found" ] && echo looked"#;
    let outcome = stranger(Path::new("sh")).args(["-c", script]).run();
    assert_eq!(outcome.stdout, "looked\n", "{}", outcome.stderr);
    victim.finish();
}

/// Headers that are right but for the tag, of each kind and for both ranks; headers cut short; a flood of nonsense.
fn forged_datagrams_change_nothing(way: Way) {
    let victim = Victim::start(way);
    let forger = r#"
import os, socket, struct, sys
host, port = sys.argv[1].split(",")[0].rsplit(":", 1)
to = (host, int(port))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for kind in range(16):
    for rank in range(2):
        header = b"PMI" + struct.pack("<BBBHQQQQII", 1, kind, 0, 1, 7, 7, 0, 1 << 40, 1 << 30, 0)
        s.sendto(header + os.urandom(16) + struct.pack("<II", rank, rank), to)
        s.sendto(header[:kind * 4], to)
for _ in range(2000):
    s.sendto(os.urandom(200), to)
s.settimeout(1)
try:
    print("an answer came:", s.recv(2000))
except socket.timeout:
    print("no answer")
"#;
    let job = stranger(Path::new("python3")).args(["-c", forger]);
    let outcome = job.arg(victim.variable("PMI_KVS_SERVER")).run();
    assert_eq!(outcome.stdout, "no answer\n", "{}", outcome.stderr);
    victim.finish();
}
