//! The environment of a rank: what it inherits, what the user sets, what the job sets.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::rc::Rc;

use pmi_bridge::offer;
use pmi_client::environment::{RECORD, record};

use crate::error::Error;
use crate::spec::{App, Inherit};
use crate::sys::CArray;

/// Variables that name a rank, a size or a PMI server of another starter (or of an outer job of ours). Passed
/// on, they would contradict this job's: an MPI library may look at them before it looks at `PMI_RANK`.
const FOREIGN: &[&str] = &[
    "FLUX_JOB_ID",
    "FLUX_PMI_LIBRARY_PATH",
    "I_MPI_PMI_LIBRARY",
    "MPI_APPNUM",
    "MPI_LOCALNRANKS",
    "MPI_LOCALRANKID",
    "MPI_UNIVERSE_SIZE",
    "OMPI_APP_CTX_NUM_PROCS",
    "OMPI_COMMAND",
    "OMPI_FILE_LOCATION",
    "OMPI_FIRST_RANKS",
    "OMPI_MCA_ess",
    "OMPI_NUM_APP_CTX",
    "OMPI_UNIVERSE_SIZE",
    "PMI_APPNUM",
    "PMI_LOCAL_RANK",
    "PMI_LOCAL_SIZE",
    "PMI_PROCESS_MAPPING",
    "PMI_RANK",
    "PMI_SIZE",
    "PMI_SPAWNED",
    "PMI_UNIVERSE_SIZE",
    "SLURM_GTIDS",
    "SLURM_LOCALID",
    "SLURM_MPI_TYPE",
    "SLURM_NODEID",
    "SLURM_PROCID",
    "SLURM_STEPID",
    "SLURM_TASK_PID",
];

/// Families of such variables. Those of the connection to another server are in [`offer`].
const FOREIGN_PREFIXES: &[&str] = &[
    "FLUX_TASK_",
    "JSM_NAMESPACE_",
    "MV2_COMM_WORLD_",
    "OMPI_COMM_WORLD_",
    "OMPI_MCA_orte_ess_",
    "OMPI_MCA_orte_hnp_",
    "OMPI_MCA_orte_local_daemon_",
    "PALS_",
    "PMI_KVS_",
    "SLURM_PMI",
    "SLURM_SRUN_COMM_",
    "SLURM_STEP_",
];

/// Is this a variable of another starter, which a rank of ours must not see?
pub fn is_foreign(name: &OsStr) -> bool {
    let family = |prefix: &&str| name.as_bytes().starts_with(prefix.as_bytes());
    offer::is_foreign(name)
        || FOREIGN.iter().any(|foreign| name == *foreign)
        || FOREIGN_PREFIXES.iter().any(family)
}

/// What is the same for every rank of a job.
#[derive(Clone, Debug)]
pub struct Contract {
    /// `PMI_SIZE`.
    pub size: u32,
    /// `PMI_LOCAL_SIZE`: ranks on this host.
    pub local_size: u32,
    /// `PMI_UNIVERSE_SIZE`.
    pub universe_size: u32,
    /// `PMI_KVS_SERVER`.
    pub server: String,
    /// `PMI_KVS_JOB`.
    pub job: String,
    /// `PMI_KVS_SECRET`: 64 hex digits.
    pub secret: String,
    /// `PMI_PORT`, if ranks shall reach the bridge by TCP.
    pub port: Option<String>,
    /// `PMI_KVS_LOG_CEILING`, if it is not the default.
    pub log_ceiling: Option<u64>,
    /// Variables that MPI libraries need to find our `libpmi.so`; the user's own settings win.
    pub presets: Vec<(&'static str, OsString)>,
}

/// The environment of one app's ranks, of which the first variables differ from rank to rank.
pub struct Environment {
    common: Rc<CArray>,
    /// The part of `PMI_KVS_PLACE` that is common to all ranks.
    record: String,
}

/// How a rank reaches the host's bridge.
#[derive(Clone, Copy, Debug)]
pub enum Reach {
    /// Its `PMI_FD`, and the inode of the socket there.
    Descriptor(RawFd, u64),
    /// Its `PMI_ID`, beside the `PMI_PORT` of all.
    Id(u32),
}

impl Environment {
    /// The environment of `app`, the `appnum`-th of its job; `ours` is the launcher's own.
    pub fn new(
        ours: impl IntoIterator<Item = (OsString, OsString)>,
        app: &App,
        appnum: u32,
        contract: &Contract,
    ) -> Result<Self, Error> {
        let mut pairs: Vec<_> =
            own_names(contract).iter().map(|name| ((*name).into(), OsString::new())).collect();
        let own = pairs.len();
        pairs.extend(fixed(contract, appnum));
        add_new(&mut pairs, app.set.iter().rev().cloned());
        let inherited: Vec<_> =
            ours.into_iter().filter(|(name, _)| passes(&app.inherit, name)).collect();
        let presets = contract.presets.iter().map(|preset| before_own(preset, &inherited));
        add_new(&mut pairs, presets);
        add_new(&mut pairs, inherited.iter().cloned());
        let lookup = |name: &str| {
            let pair = pairs[own..].iter().find(|(other, _)| other == name);
            pair.map(|(_, value)| value.to_string_lossy().into_owned())
        };
        let record = record(&lookup, None);
        let strings = pairs.into_iter().map(assignment).collect::<Result<_, _>>()?;
        Ok(Environment { common: Rc::new(CArray::new(strings)), record })
    }

    /// The environment of one rank.
    pub fn of_rank(&self, rank: u32, local_rank: u32, reach: Reach) -> CArray {
        let (reach, inode) = match reach {
            Reach::Descriptor(fd, inode) => (("PMI_FD", fd.to_string()), Some(inode)),
            Reach::Id(id) => (("PMI_ID", id.to_string()), None),
        };
        let mut own =
            vec![("PMI_RANK", rank.to_string()), ("PMI_LOCAL_RANK", local_rank.to_string()), reach];
        let lookup = |name: &str| {
            own.iter().find(|(other, _)| *other == name).map(|(_, value)| value.clone())
        };
        let record = format!("{},{}", record(&lookup, inode), self.record);
        own.push((RECORD, record));
        let strings = own.into_iter().map(|(name, value)| {
            CString::new(format!("{name}={value}"))
                .expect("no NUL byte: all parts have been strings")
        });
        CArray::replacing_first(strings.collect(), &self.common)
    }
}

/// The variables that differ from rank to rank, in the order of [`Environment::of_rank`].
fn own_names(contract: &Contract) -> [&'static str; 4] {
    let reach = if contract.port.is_some() { "PMI_ID" } else { "PMI_FD" };
    ["PMI_RANK", "PMI_LOCAL_RANK", reach, RECORD]
}

fn fixed(contract: &Contract, appnum: u32) -> Vec<(OsString, OsString)> {
    let ceiling = contract.log_ceiling.map(|bytes| ("PMI_KVS_LOG_CEILING", bytes.to_string()));
    [
        ("PMI_SIZE", contract.size.to_string()),
        ("PMI_LOCAL_SIZE", contract.local_size.to_string()),
        ("PMI_APPNUM", appnum.to_string()),
        ("PMI_UNIVERSE_SIZE", contract.universe_size.to_string()),
        ("PMI_KVS_SERVER", contract.server.clone()),
        ("PMI_KVS_JOB", contract.job.clone()),
        ("PMI_KVS_SECRET", contract.secret.clone()),
    ]
    .into_iter()
    .chain(ceiling)
    .chain(contract.port.clone().map(|port| ("PMI_PORT", port)))
    .map(|(name, value)| (name.into(), value.into()))
    .collect()
}

/// Adds those variables that are not there yet.
fn add_new(
    pairs: &mut Vec<(OsString, OsString)>,
    more: impl IntoIterator<Item = (OsString, OsString)>,
) {
    for pair in more {
        if !pairs.iter().any(|(name, _)| *name == pair.0) {
            pairs.push(pair);
        }
    }
}

/// A preset as it is set, beside what the user has.
fn before_own(
    (name, value): &(&'static str, OsString),
    own: &[(OsString, OsString)],
) -> (OsString, OsString) {
    let own = own.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_os_str());
    ((*name).into(), offer::before_own(name, value, own))
}

fn passes(inherit: &Inherit, name: &OsStr) -> bool {
    match inherit {
        Inherit::All => !is_foreign(name),
        Inherit::Nothing => false,
        Inherit::Only(names) => names.iter().any(|wanted| wanted == name),
    }
}

fn assignment((name, value): (OsString, OsString)) -> Result<CString, Error> {
    let text = name.display().to_string();
    let mut bytes = name.into_vec();
    bytes.push(b'=');
    bytes.extend_from_slice(value.as_bytes());
    CString::new(bytes).map_err(|_| Error::Nul(format!("environment variable '{text}'")))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn contract() -> Contract {
        Contract {
            size: 4,
            local_size: 4,
            universe_size: 8,
            server: "127.0.0.1:1".into(),
            job: "job".into(),
            secret: "ab".into(),
            port: None,
            log_ceiling: None,
            presets: offer::presets(Path::new("/lib/libpmi.so"), 7),
        }
    }

    fn app(inherit: Inherit, set: &[(&str, &str)]) -> App {
        let set = set.iter().map(|(name, value)| (name.into(), value.into())).collect();
        App { count: 4, program: "x".into(), args: vec![], wdir: None, inherit, set }
    }

    fn lines(app: &App, ours: &[(&str, &str)]) -> Vec<String> {
        let ours = ours.iter().map(|(name, value)| (name.into(), value.into()));
        let environment = Environment::new(ours, app, 1, &contract()).unwrap();
        let mut lines: Vec<_> = environment
            .of_rank(3, 2, Reach::Descriptor(7, 99))
            .strings()
            .map(|line| line.to_str().unwrap().to_owned())
            .collect();
        lines.sort();
        lines
    }

    const CONTRACT: [&str; 15] = [
        "FLUX_JOB_ID=7",
        "FLUX_PMI_LIBRARY_PATH=/lib/libpmi.so",
        "I_MPI_PMI_LIBRARY=/lib/libpmi.so",
        "LD_LIBRARY_PATH=/lib",
        "PMI_APPNUM=1",
        "PMI_FD=7",
        "PMI_KVS_JOB=job",
        "PMI_KVS_PLACE=PMI_RANK=3,PMI_FD=7:socket:[99],PMI_LOCAL_RANK=2,PMI_SIZE=4,PMI_LOCAL_SIZE=4,\
         PMI_APPNUM=1,PMI_UNIVERSE_SIZE=8,FLUX_JOB_ID=7,PMI_KVS_JOB=job",
        "PMI_KVS_SECRET=ab",
        "PMI_KVS_SERVER=127.0.0.1:1",
        "PMI_LOCAL_RANK=2",
        "PMI_LOCAL_SIZE=4",
        "PMI_RANK=3",
        "PMI_SIZE=4",
        "PMI_UNIVERSE_SIZE=8",
    ];

    #[test]
    fn a_rank_inherits_everything_but_other_starters_variables() {
        let ours =
            [("ZED", "1"), ("PMIX_RANK", "9"), ("PMI_FD", "5"), ("SLURM_PROCID", "2"), ("Z", "")];
        let mut expected = CONTRACT.to_vec();
        expected.extend(["Z=", "ZED=1"]);
        assert_eq!(lines(&app(Inherit::All, &[]), &ours), expected);
        assert_eq!(lines(&app(Inherit::Nothing, &[]), &ours), CONTRACT);
        let only = Inherit::Only(vec!["ZED".into()]);
        assert!(lines(&app(only, &[]), &ours).contains(&"ZED=1".to_owned()));
    }

    #[test]
    fn what_the_user_sets_beats_all_but_the_contract() {
        let set = [("A", "1"), ("A", "2"), ("PMI_RANK", "77"), ("I_MPI_PMI_LIBRARY", "/mine")];
        let lines = lines(&app(Inherit::All, &set), &[("A", "0")]);
        let has = |line: &str| lines.iter().any(|found| found == line);
        assert!(has("A=2") && has("PMI_RANK=3") && has("I_MPI_PMI_LIBRARY=/mine"), "{lines:?}");
        assert_eq!(lines.len(), CONTRACT.len() + 1);
    }

    #[test]
    fn our_library_is_found_before_others() {
        let has = |line: &str, set: &[(&str, &str)]| {
            let lines = lines(&app(Inherit::All, set), &[("LD_LIBRARY_PATH", "/a:/b")]);
            lines.iter().any(|found| found == line)
        };
        assert!(has("LD_LIBRARY_PATH=/lib:/a:/b", &[]));
        assert!(has("LD_LIBRARY_PATH=/mine", &[("LD_LIBRARY_PATH", "/mine")]));
    }

    #[test]
    fn foreign_variables_are_told_from_ours() {
        for name in ["PMI_RANK", "PMIX_NAMESPACE", "PMI_KVS_SECRET", "SLURM_STEP_ID", "PALS_RANKID"]
        {
            assert!(is_foreign(OsStr::new(name)), "{name}");
        }
        for name in
            ["PMI_DEBUG", "PMI_TIMEOUT", "SLURM_JOB_ID", "SLURM_NTASKS", "PATH", "OMPI_MCA_btl"]
        {
            assert!(!is_foreign(OsStr::new(name)), "{name}");
        }
    }
}
