//! The record that our starters leave with each rank, so that nested starters never mix.
//!
//! An inner starter hands its processes variables of its own and leaves the outer ones in place: under
//! `pmi-ssh … mpiexec.hydra … program` a program finds `PMI_KVS_*` of the one and `PMI_FD` of the other. So
//! `pmi-ssh` and `pmi-exec` write into [`RECORD`] what each rank's environment held when they started it, of the
//! variables that place a process. [`Origin::of`] compares: a variable that is new, or has changed, was set by
//! another starter in between. What is gone since is no evidence, because wrappers clean up; nor is a descriptor
//! that is closed, because `python3 -m subprocess` and many others close what they do not know.

use super::descriptor::Descriptor;

/// The variable that holds the record.
pub const RECORD: &str = "PMI_KVS_PLACE";

/// The descriptor of a PMI server, whose number says less than its socket.
const PMI_FD: &str = "PMI_FD";

/// The job that a record speaks of. Whoever names another one by hand, inside of a rank, has made no record of it,
/// and the outer one says nothing about it.
const JOB: &str = "PMI_KVS_JOB";

/// Who sets a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Starter {
    /// Any that speaks PMI: ours, Hydra, gforker, Slurm's mpi/pmi2, PALS, Flux.
    Pmi,
    Slurm,
    Pals,
    Flux,
    /// Those that speak PMIx: Open MPI's mpirun, prterun, Slurm's mpi/pmix, JSM.
    Pmix,
    OpenMpi,
    Mvapich,
    Jsm,
    Torchrun,
}

/// When a variable that is new or has changed is the word of another starter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// Always: nobody but a starter sets it.
    Sure,
    /// Beside this one only, without which users set it themselves.
    Beside(&'static str),
    /// If it contradicts the rank on record: scripts and frameworks copy the rank into it for other software.
    UnlessRank,
    /// Never: it goes with the place, and an old value must not be read beside a new place.
    Never,
}

use Evidence::{Beside, Never, Sure, UnlessRank};

type Variable = (&'static str, Starter, Evidence);

/// The variables of the record. Local ranks are no evidence: scripts that choose a GPU for each rank set those of
/// every MPI library. Nor is what torchrun sets: frameworks set it inside ranks.
const VARIABLES: &[Variable] = &[
    ("PMI_RANK", Starter::Pmi, Sure),
    ("PMI_SIZE", Starter::Pmi, Sure),
    (PMI_FD, Starter::Pmi, Sure),
    ("PMI_PORT", Starter::Pmi, Sure),
    ("PMI_ID", Starter::Pmi, Sure),
    ("PMI_JOBID", Starter::Pmi, Sure),
    ("PMI_LOCAL_RANK", Starter::Pmi, Never),
    ("PMI_LOCAL_SIZE", Starter::Pmi, Never),
    ("PMI_APPNUM", Starter::Pmi, Never),
    ("PMI_UNIVERSE_SIZE", Starter::Pmi, Never),
    ("PMI_SPAWNED", Starter::Pmi, Never),
    // A batch script started from within a rank is another job; it inherits everything else.
    ("SLURM_JOB_ID", Starter::Slurm, Sure),
    ("SLURM_STEP_ID", Starter::Slurm, Sure),
    ("SLURM_PROCID", Starter::Slurm, Beside("SLURM_STEP_ID")),
    ("PALS_APID", Starter::Pals, Sure),
    ("PALS_RANKID", Starter::Pals, Sure),
    // Open MPI 4 needs a FLUX_JOB_ID to load a libpmi.so, so users set one.
    ("FLUX_JOB_ID", Starter::Flux, Beside("FLUX_TASK_RANK")),
    ("FLUX_TASK_RANK", Starter::Flux, Sure),
    ("PMIX_NAMESPACE", Starter::Pmix, Sure),
    ("PMIX_RANK", Starter::Pmix, Beside("PMIX_NAMESPACE")),
    ("OMPI_COMM_WORLD_RANK", Starter::OpenMpi, UnlessRank),
    ("MV2_COMM_WORLD_RANK", Starter::Mvapich, UnlessRank),
    ("JSM_NAMESPACE_RANK", Starter::Jsm, UnlessRank),
    (JOB, Starter::Pmi, Never),
];

/// The record of an environment that a starter is about to hand to a rank: the value of [`RECORD`].
///
/// `lookup` is that environment; `pmi_fd_socket` is the inode of the socket that will be open at its `PMI_FD`, if
/// it has one. Entries are `NAME=value`, separated by commas; in a value, `,` and `%` are written as `%2C` and
/// `%25`. `PMI_FD` is followed by its socket, as in `PMI_FD=7:socket:[12345]`.
pub fn record(lookup: &dyn Fn(&str) -> Option<String>, pmi_fd_socket: Option<u64>) -> String {
    let set = VARIABLES.iter().filter_map(|(name, ..)| Some((*name, value(lookup, name)?)));
    let entries = set.map(|(name, value)| match pmi_fd_socket.filter(|_| name == PMI_FD) {
        Some(inode) => format!("{name}={}:socket:[{inode}]", escape(&value)),
        None => format!("{name}={}", escape(&value)),
    });
    entries.collect::<Vec<_>>().join(",")
}

/// Empty variables count as not set.
fn value(lookup: &dyn Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    lookup(name).filter(|text| !text.is_empty())
}

fn escape(value: &str) -> String {
    value.replace('%', "%25").replace(',', "%2C")
}

fn unescape(value: &str) -> String {
    value.replace("%2C", ",").replace("%25", "%")
}

/// What a record says.
struct Recorded {
    entries: Vec<(String, String)>,
}

impl Recorded {
    /// What is not of the form `NAME=value` says nothing.
    fn parse(text: &str) -> Recorded {
        let pairs = text.split(',').filter_map(|entry| entry.split_once('='));
        Recorded { entries: pairs.map(|(name, value)| (name.into(), value.into())).collect() }
    }

    fn text(&self, name: &str) -> Option<String> {
        let (_, value) = self.entries.iter().find(|(entry, _)| entry == name)?;
        let number = value.split_once(':').filter(|_| name == PMI_FD);
        Some(unescape(number.map_or(value, |(number, _)| number)))
    }

    /// The inode of the socket at `PMI_FD`.
    fn socket(&self) -> Option<u64> {
        let (_, value) = self.entries.iter().find(|(entry, _)| entry == PMI_FD)?;
        let (_, socket) = value.split_once(':')?;
        socket.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    }

    /// Has this variable another value now? What is gone has not.
    fn differs(
        &self,
        name: &str,
        lookup: &dyn Fn(&str) -> Option<String>,
        descriptor: &dyn Fn(i32) -> Descriptor,
    ) -> bool {
        let Some(now) = value(lookup, name) else { return false };
        if self.text(name).as_ref() != Some(&now) {
            return true;
        }
        let (Some(then), Ok(number)) = (self.socket().filter(|_| name == PMI_FD), now.parse())
        else {
            return false;
        };
        matches!(descriptor(number), Descriptor::Socket(inode) if inode != then)
    }
}

/// Whose variables a process has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// No starter stands between: what is set was set for this process, or does no harm.
    Direct,
    /// Another starter stands between this process and the one that set `PMI_KVS_*`.
    Nested(Nested),
}

/// What another starter has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Nested {
    /// The variables that gave it away.
    pub evidence: Vec<&'static str>,
    starters: Vec<Starter>,
    changed: Vec<&'static str>,
}

impl Nested {
    fn new(evidence: &[&Variable], changed: &[&Variable]) -> Nested {
        let names = |variables: &[&Variable]| variables.iter().map(|(name, ..)| *name).collect();
        Nested {
            evidence: names(evidence),
            starters: evidence.iter().map(|(_, starter, _)| *starter).collect(),
            changed: names(changed),
        }
    }

    fn has(&self, starter: Starter) -> bool {
        let alone = |starter| self.starters.contains(&starter);
        match starter {
            // PALS sets PMI_RANK and PMI_SIZE too.
            Starter::Pmi => alone(Starter::Pmi) || alone(Starter::Pals),
            // Their own variables go with the PMIx namespace of their job.
            Starter::OpenMpi | Starter::Jsm => alone(starter) || alone(Starter::Pmix),
            _ => alone(starter),
        }
    }

    fn has_changed(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.changed.contains(name))
    }
}

impl Origin {
    /// Compares an environment with its record; `descriptor` says what is open at a number.
    pub(super) fn of(
        lookup: &dyn Fn(&str) -> Option<String>,
        descriptor: &dyn Fn(i32) -> Descriptor,
    ) -> Origin {
        let Some(text) = value(lookup, RECORD) else { return Origin::Direct };
        let recorded = Recorded::parse(&text);
        if recorded.text(JOB).is_some() && recorded.differs(JOB, lookup, descriptor) {
            return Origin::Direct;
        }
        let changed: Vec<&Variable> = VARIABLES
            .iter()
            .filter(|(name, ..)| recorded.differs(name, lookup, descriptor))
            .collect();
        let rank = recorded.text("PMI_RANK");
        let is_evidence = |(name, _, evidence): &&Variable| match evidence {
            Sure => true,
            Beside(other) => value(lookup, other).is_some(),
            UnlessRank => value(lookup, name) != rank,
            Never => false,
        };
        let found: Vec<_> = changed.iter().copied().filter(is_evidence).collect();
        match found.is_empty() {
            true => Origin::Direct,
            false => Origin::Nested(Nested::new(&found, &changed)),
        }
    }

    /// Did this starter place this process, if its variables are set?
    pub(super) fn placed_by(&self, starter: Starter) -> bool {
        match self {
            Origin::Direct => true,
            Origin::Nested(nested) => nested.has(starter),
        }
    }

    /// Is this variable of use to this process? Beside another starter's place, our old values are not, and
    /// neither is a server that this starter has not named.
    pub(super) fn shows(&self, name: &str) -> bool {
        let Origin::Nested(nested) = self else { return true };
        let variable = VARIABLES.iter().find(|(variable, ..)| *variable == name);
        match (name, variable) {
            _ if name.starts_with("PMI_KVS_") => false,
            (PMI_FD, _) => nested.has_changed(&[PMI_FD]),
            ("PMI_PORT" | "PMI_ID", _) => nested.has_changed(&["PMI_PORT", "PMI_ID"]),
            (_, Some((_, _, Never))) => nested.has_changed(&[name]),
            (_, Some((_, starter, _))) => nested.has(*starter),
            (_, None) => true,
        }
    }

    /// The variables that show another starter in between; none if there is none.
    pub(super) fn evidence(&self) -> &[&'static str] {
        match self {
            Origin::Direct => &[],
            Origin::Nested(nested) => &nested.evidence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(words: &str) -> impl Fn(&str) -> Option<String> + use<> {
        let pairs: Vec<(String, String)> = words
            .split_whitespace()
            .map(|word| word.split_once('=').unwrap())
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        move |name| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }

    /// The evidence in `now` after a starter of ours left `then`, with socket 5 at `PMI_FD`.
    fn evidence(then: &str, now: &str, open: Descriptor) -> String {
        let record = record(&lookup(then), Some(5));
        let now = lookup(&format!("{now} {RECORD}={record}"));
        Origin::of(&now, &|_| open).evidence().join(" ")
    }

    #[test]
    fn the_record_holds_what_is_set_and_names_the_socket() {
        let words = "PATH=/bin PMI_SIZE=4 PMI_FD=7 PMI_RANK=0 PMI_ID= SLURM_JOB_ID=a,b%2C";
        let expected = "PMI_RANK=0,PMI_SIZE=4,PMI_FD=7:socket:[12345],SLURM_JOB_ID=a%2Cb%252C";
        assert_eq!(record(&lookup(words), Some(12345)), expected);
        let recorded = Recorded::parse(expected);
        assert_eq!(recorded.text("PMI_FD").as_deref(), Some("7"));
        assert_eq!(recorded.socket(), Some(12345));
        assert_eq!(recorded.text("SLURM_JOB_ID").as_deref(), Some("a,b%2C"));
        assert_eq!(record(&lookup("PMI_FD=7"), None), "PMI_FD=7");
        assert_eq!(record(&lookup("PATH=/bin"), Some(1)), "");
    }

    #[test]
    fn only_what_another_starter_sets_is_evidence() {
        let ours = "PMI_RANK=1 PMI_SIZE=4 PMI_FD=7 PMI_LOCAL_RANK=1 SLURM_JOB_ID=9";
        let (same, closed) = (Descriptor::Socket(5), Descriptor::Closed);
        for (more, open, expected) in [
            ("", same, ""),
            ("", closed, ""),
            ("", Descriptor::Other, ""),
            ("", Descriptor::Socket(6), "PMI_FD"),
            ("PMI_RANK=2", same, "PMI_RANK"),
            ("PMI_SIZE=5", same, "PMI_SIZE"),
            ("PMI_FD=8", closed, "PMI_FD"),
            ("PMI_PORT=a:1 PMI_ID=0", same, "PMI_PORT PMI_ID"),
            ("SLURM_JOB_ID=10", same, "SLURM_JOB_ID"),
            ("SLURM_STEP_ID=0 SLURM_PROCID=1", same, "SLURM_STEP_ID SLURM_PROCID"),
            ("FLUX_TASK_RANK=1 FLUX_JOB_ID=f", same, "FLUX_JOB_ID FLUX_TASK_RANK"),
            ("PALS_APID=a PALS_RANKID=1", same, "PALS_APID PALS_RANKID"),
            ("PMIX_NAMESPACE=n PMIX_RANK=1", same, "PMIX_NAMESPACE PMIX_RANK"),
            ("OMPI_COMM_WORLD_RANK=0", same, "OMPI_COMM_WORLD_RANK"),
            // What users and frameworks set inside ranks.
            ("OMPI_COMM_WORLD_RANK=1 MV2_COMM_WORLD_RANK=1 MPI_LOCALRANKID=1", same, ""),
            ("SLURM_PROCID=3 SLURM_LOCALID=3", same, ""),
            ("RANK=3 WORLD_SIZE=8 LOCAL_RANK=0", same, ""),
            ("FLUX_JOB_ID=8 PMI_LOCAL_RANK=0 PMIX_RANK=0", same, ""),
        ] {
            assert_eq!(evidence(ours, &format!("{more} {ours}"), open), expected, "{more}");
        }
    }

    #[test]
    fn a_record_of_another_job_is_none() {
        let ours = "PMI_RANK=1 PMI_SIZE=4 PMI_KVS_JOB=outer";
        let by_hand = "PMI_RANK=0 PMI_SIZE=2 PMI_KVS_JOB=";
        assert_eq!(evidence(ours, &format!("{by_hand}inner"), Descriptor::Closed), "");
        assert_eq!(
            evidence(ours, &format!("{by_hand}outer"), Descriptor::Closed),
            "PMI_RANK PMI_SIZE"
        );
    }

    #[test]
    fn what_is_gone_is_no_evidence_and_without_a_record_there_is_none() {
        assert_eq!(evidence("PMI_RANK=1 PMI_SIZE=4 PMI_FD=7", "", Descriptor::Closed), "");
        let lookup = lookup("PMI_RANK=1 PMI_KVS_SERVER=a:1 PMI_FD=7");
        assert_eq!(Origin::of(&lookup, &|_| Descriptor::Socket(1)), Origin::Direct);
    }
}
