//! One table row per starter, and one per mistake.

use super::*;

const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";

/// Reads `NAME=value` words. A `^` in a value stands for a space.
fn read(words: &str) -> Result<Placement, EnvironmentError> {
    let pairs: Vec<_> =
        words.split_whitespace().map(|word| word.split_once('=').unwrap()).collect();
    Placement::read(&|name| {
        let found = pairs.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.replace('^', " "))
    })
}

fn complaint(words: &str) -> String {
    read(words).expect_err(words).to_string()
}

/// rank, size, local rank, local size, clique, source
type Row = (u32, u32, Option<u32>, Option<u32>, Option<Vec<u32>>, Option<&'static str>);

fn row(words: &str) -> Row {
    let place = read(words).unwrap_or_else(|error| panic!("{words}: {error}"));
    (place.rank, place.size, place.local_rank, place.local_size, place.clique, place.source)
}

#[test]
fn every_starter_is_understood() {
    let pmi = Some("PMI_RANK and PMI_SIZE");
    let table: &[(&str, Row)] = &[
        ("", (0, 1, None, None, None, None)),
        ("PMI_RANK=3 PMI_SIZE=8", (3, 8, None, None, None, pmi)),
        ("PMI_RANK=0 PMI_SIZE=1", (0, 1, None, None, None, pmi)),
        (
            "PMI_RANK=3 PMI_SIZE=8 PMI_LOCAL_RANK=1 PMI_LOCAL_SIZE=2",
            (3, 8, Some(1), Some(2), None, pmi),
        ),
        // hydra
        (
            "PMI_RANK=1 PMI_SIZE=4 PMI_FD=9 MPI_LOCALRANKID=1 MPI_LOCALNRANKS=4",
            (1, 4, Some(1), Some(4), None, pmi),
        ),
        // Slurm, cyclic distribution: only SLURM_GTIDS tells who is here.
        (
            "SLURM_STEP_ID=0 SLURM_PROCID=4 SLURM_NTASKS=8 SLURM_LOCALID=1 SLURM_GTIDS=0,4,5 SLURM_NODEID=0",
            (4, 8, Some(1), Some(3), Some(vec![0, 4, 5]), Some("Slurm")),
        ),
        (
            "SLURM_STEP_ID=0 SLURM_PROCID=4 SLURM_STEP_NUM_TASKS=8",
            (4, 8, None, None, None, Some("Slurm")),
        ),
        // A batch script is not a rank.
        ("SLURM_PROCID=0 SLURM_NTASKS=8 SLURM_LOCALID=0", (0, 1, None, None, None, None)),
        // A node list that is not ours says nothing.
        (
            "SLURM_STEP_ID=0 SLURM_PROCID=4 SLURM_NTASKS=8 SLURM_GTIDS=0,1",
            (4, 8, None, None, None, Some("Slurm")),
        ),
        // A launcher's own variables count before the scheduler's, whose node list is then another job's.
        (
            "PMI_RANK=1 PMI_SIZE=2 SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_NTASKS=1 SLURM_GTIDS=0",
            (1, 2, None, None, None, pmi),
        ),
        (
            "PALS_RANKID=2 PALS_LOCAL_RANKID=0 PMI_RANK=2 PMI_SIZE=4",
            (2, 4, Some(0), None, None, pmi),
        ),
        ("PALS_RANKID=2 PALS_LOCAL_RANKID=0 PMI_SIZE=4", (2, 4, Some(0), None, None, Some("PALS"))),
        (
            "FLUX_TASK_RANK=5 FLUX_JOB_SIZE=6 FLUX_TASK_LOCAL_ID=1",
            (5, 6, Some(1), None, None, Some("Flux")),
        ),
        // pmi-ssh points Open MPI at our library with these; they are no rank.
        ("FLUX_JOB_ID=1 FLUX_PMI_LIBRARY_PATH=/x", (0, 1, None, None, None, None)),
        (
            "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=1 \
             OMPI_COMM_WORLD_LOCAL_SIZE=2",
            (1, 4, Some(1), Some(2), None, Some("Open MPI")),
        ),
        (
            "MV2_COMM_WORLD_RANK=1 MV2_COMM_WORLD_SIZE=4 MV2_COMM_WORLD_LOCAL_RANK=0",
            (1, 4, Some(0), None, None, Some("MVAPICH")),
        ),
        (
            "JSM_NAMESPACE_RANK=1 JSM_NAMESPACE_SIZE=4 JSM_NAMESPACE_LOCAL_RANK=0",
            (1, 4, Some(0), None, None, Some("JSM")),
        ),
        (
            "RANK=7 WORLD_SIZE=8 LOCAL_RANK=3 LOCAL_WORLD_SIZE=4",
            (7, 8, Some(3), Some(4), None, Some("torchrun")),
        ),
        // RANK alone is anybody's word.
        ("RANK=captain", (0, 1, None, None, None, None)),
        // Empty is not set.
        ("PMI_RANK= PMI_SIZE=", (0, 1, None, None, None, None)),
    ];
    for (words, expected) in table {
        assert_eq!(&row(words), expected, "{words}");
    }
}

#[test]
fn the_variable_behind_each_number_is_known() {
    let behind = |words: &str| {
        let ToldBy { rank, size, local_rank, local_size } = read(words).unwrap().told_by;
        [rank, size, local_rank, local_size].map(|name| name.unwrap_or("-")).join(" ")
    };
    for (words, expected) in [
        ("", "- - - -"),
        ("PMI_RANK=1 PMI_SIZE=4 MPI_LOCALRANKID=1", "PMI_RANK PMI_SIZE MPI_LOCALRANKID -"),
        (
            "SLURM_STEP_ID=0 SLURM_PROCID=1 SLURM_STEP_NUM_TASKS=2 SLURM_GTIDS=0,1",
            "SLURM_PROCID SLURM_STEP_NUM_TASKS - SLURM_GTIDS",
        ),
        (
            "SLURM_STEP_ID=0 SLURM_PROCID=1 SLURM_NTASKS=2 SLURM_GTIDS=0",
            "SLURM_PROCID SLURM_NTASKS - -",
        ),
    ] {
        assert_eq!(behind(words), expected, "{words}");
    }
}

#[test]
fn mistakes_name_the_variable_and_its_form() {
    for (words, parts) in [
        ("PMI_RANK=abc PMI_SIZE=4", &["PMI_RANK=abc", "whole number from 0"][..]),
        ("PMI_RANK=-1 PMI_SIZE=4", &["PMI_RANK=-1"]),
        ("PMI_RANK=0 PMI_SIZE=0", &["PMI_SIZE=0", "from 1"]),
        ("PMI_RANK=0 PMI_SIZE=99999999999", &["PMI_SIZE=99999999999"]),
        ("PMI_RANK=4 PMI_SIZE=4", &["PMI_RANK=4", "PMI_SIZE=4", "0 to size - 1"]),
        ("PMI_RANK=4", &["PMI_RANK is set, but PMI_SIZE is not"]),
        ("PMI_SIZE=4", &["PMI_SIZE=4 is set, but PMI_RANK is not"]),
        ("SLURM_STEP_ID=0 SLURM_PROCID=1", &["SLURM_PROCID is set, but SLURM_NTASKS is not"]),
        (
            "SLURM_STEP_ID=0 SLURM_PROCID=1 SLURM_NTASKS=2 SLURM_GTIDS=0-1",
            &["SLURM_GTIDS=0-1", "separated by commas"],
        ),
        ("RANK=x WORLD_SIZE=2", &["RANK=x"]),
        ("PMI_RANK=0 PMI_SIZE=2 PMI_LOCAL_SIZE=3", &["PMI_LOCAL_SIZE=3", "from 1 to 2"]),
        ("PMI_RANK=0 PMI_SIZE=2 PMI_LOCAL_RANK=2", &["PMI_LOCAL_RANK=2", "from 0 to 1"]),
        ("PMI_APPNUM=first", &["PMI_APPNUM=first"]),
        ("PMI_UNIVERSE_SIZE=0", &["PMI_UNIVERSE_SIZE=0"]),
        ("PMI_SPAWNED=yes", &["PMI_SPAWNED=yes", "from 0 to 1"]),
        ("PMI_TIMEOUT=0", &["PMI_TIMEOUT=0", "from 1"]),
        ("PMI_TIMEOUT=5s", &["PMI_TIMEOUT=5s"]),
        ("PMI_KVS_LOG_CEILING=1", &["PMI_KVS_LOG_CEILING=1", "from 4096"]),
    ] {
        let complaint = complaint(words);
        for part in parts {
            assert!(complaint.contains(part), "{words}: {complaint}");
        }
    }
}

fn with_server(server: &str, job: &str, secret: &str) -> String {
    format!(
        "PMI_RANK=0 PMI_SIZE=2 PMI_KVS_SERVER={server} PMI_KVS_JOB={job} PMI_KVS_SECRET={secret}"
    )
}

#[test]
fn server_variables_are_read() {
    let place =
        read(&with_server("10.0.0.1:5000,[fe80::1]:5001,^login:5002", "job.7", SECRET)).unwrap();
    let server = place.server.expect("a server is named");
    let expected = [("10.0.0.1", 5000), ("fe80::1", 5001), ("login", 5002)];
    assert_eq!(server.addresses, expected.map(|(host, port)| (host.to_owned(), port)));
    assert_eq!(server.job, "job.7");
    assert_eq!((server.secret[1], server.secret[15], server.secret[31]), (0x11, 0xff, 0xff));
    assert!(!format!("{server:?}").contains("secret"), "{server:?}");
}

#[test]
fn server_mistakes_are_named_without_the_secret() {
    for server in
        ["host", "host:", ":1", "host:0", "host:99999", "::1:5", "[::1:5", "a:1,,b:2", "host:x"]
    {
        let complaint = complaint(&with_server(server, "job", SECRET));
        assert!(
            complaint.starts_with(&format!("PMI_KVS_SERVER={server}: expected host:port")),
            "{complaint}"
        );
    }
    for secret in ["abc", &SECRET[1..], &format!("{SECRET}0"), &SECRET.replace('0', "g")] {
        let complaint = complaint(&with_server("host:1", "job", secret));
        assert!(complaint.contains("expected 64 hex digits"), "{complaint}");
        assert!(!complaint.contains(secret), "{complaint}");
    }
    let long = "j".repeat(limits::JOB_NAME_MAX + 1);
    assert!(complaint(&with_server("host:1", &long, SECRET)).contains("PMI_KVS_JOB"));
}

#[test]
fn missing_server_variables_are_named() {
    for (words, missing) in [
        ("PMI_KVS_SERVER=a:1 PMI_KVS_JOB=j", "but PMI_KVS_SECRET is not"),
        ("PMI_KVS_SERVER=a:1 PMI_KVS_SECRET=00", "but PMI_KVS_JOB is not"),
        ("PMI_KVS_JOB=j PMI_KVS_SECRET=00", "but PMI_KVS_SERVER is not"),
        ("PMI_KVS_JOB=j", "but PMI_KVS_SERVER and PMI_KVS_SECRET is not"),
    ] {
        let complaint = complaint(&format!("PMI_RANK=0 PMI_SIZE=2 {words}"));
        assert!(complaint.contains(missing), "{complaint}");
    }
    let rankless = format!("PMI_KVS_SERVER=a:1 PMI_KVS_JOB=j PMI_KVS_SECRET={SECRET}");
    assert!(complaint(&rankless).contains("set PMI_RANK and PMI_SIZE"));
}

#[test]
fn defaults_and_the_other_variables() {
    let place = read("PMI_RANK=1 PMI_SIZE=2").unwrap();
    assert_eq!((place.appnum, place.universe_size, place.spawned), (0, 2, false));
    assert_eq!((place.log_ceiling, place.timeout), (limits::LOG_CEILING_DEFAULT, None));
    let place = read(
        "PMI_RANK=1 PMI_SIZE=2 PMI_APPNUM=3 PMI_UNIVERSE_SIZE=16 PMI_SPAWNED=1 PMI_TIMEOUT=30 \
         PMI_KVS_LOG_CEILING=8192",
    )
    .unwrap();
    assert_eq!((place.appnum, place.universe_size, place.spawned), (3, 16, true));
    assert_eq!((place.log_ceiling, place.timeout), (8192, Some(Duration::from_secs(30))));
}

#[test]
fn a_rank_without_a_server_is_told_what_to_do() {
    let message = read("PMI_RANK=1 PMI_SIZE=2").unwrap().no_server();
    for part in [
        "rank 1 of 2",
        "pmi-ssh",
        "pmi-kvs-server",
        "PMI_KVS_SERVER",
        "PMI_KVS_JOB",
        "PMI_KVS_SECRET",
    ] {
        assert!(message.contains(part), "{message}");
    }
}
