//! How a step's tasks learn where their server is, and get a helper: through srun's environment.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use pmi_bridge::task::Environment;
use pmi_launch::environment::is_foreign;
use pmi_launch::error::Error;
use pmi_launch::resolve::Installation;
use pmi_protocol::limits::LOG_CEILING_DEFAULT;

use crate::step::{Settings, Step};

/// What srun reads from its environment that is ours to set, and where `pmi-task-prolog` finds what the user had there.
const REPLACED: [(&str, &str); 2] =
    [("SLURM_TASK_PROLOG", "SLURM_PMI_TASK_PROLOG"), ("SLURM_MPI_TYPE", "SLURM_PMI_MPI_TYPE")];

/// Whether plain srun shall have a server when spank_pmi.so is there. It is the user's, and stays.
const CHOICE: &str = "SLURM_PMI_KVS";

/// Who starts the helpers of the tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `pmi-task-prolog`, for `pmi-srun`: this process becomes srun.
    Wrapper,
    /// `pmi-task-prolog`, which `spank_pmi.so` has put into srun's environment already, before srun read it.
    Prolog,
    /// `spank_pmi.so` in slurmstepd.
    Plugin {
        /// Nobody has asked for this step's server in particular: a PMI server of Slurm's that serves the step goes
        /// before.
        by_default: bool,
    },
}

/// What a step's tasks are told.
pub struct Handover {
    way: Way,
    set: Vec<(&'static str, OsString)>,
}

impl Handover {
    /// To the tasks of this step.
    pub fn new(way: Way, settings: &Settings, step: &Step) -> Result<Self, Error> {
        let mut set = Vec::new();
        // Those that begin with SLURM reach the prolog under any --export, the others those tasks for which
        // srun's --task-prolog has taken the prolog's place.
        for (handed, plain, value) in [
            ("SLURM_PMI_KVS_SERVER", "PMI_KVS_SERVER", &step.addresses),
            ("SLURM_PMI_KVS_JOB", "PMI_KVS_JOB", &step.job),
            ("SLURM_PMI_KVS_SECRET", "PMI_KVS_SECRET", &step.secret),
        ] {
            set.extend([(handed, value.into()), (plain, value.into())]);
        }
        if settings.pmi_log_ceiling != LOG_CEILING_DEFAULT {
            let value = OsString::from(settings.pmi_log_ceiling.to_string());
            set.push(("SLURM_PMI_KVS_LOG_CEILING", value.clone()));
            set.push(("PMI_KVS_LOG_CEILING", value));
        }
        if settings.pmi_no_library {
            set.push(("SLURM_PMI_NO_LIBRARY", "1".into()));
        }
        set.extend(way.variables()?);
        Ok(Handover { way, set })
    }

    /// srun's environment, made of ours. What an outer job or another PMI starter has left there is not passed on.
    pub fn environment(&self, ours: impl Iterator<Item = (OsString, OsString)>) -> Environment {
        let mut environment = Environment::new();
        for (name, value) in ours.filter(|(name, _)| !self.drops(name)) {
            match self.way.replaced().iter().find(|(replaced, _)| name == *replaced) {
                Some((_, keeper)) => environment.insert((*keeper).into(), value),
                None => environment.insert(name, value),
            };
        }
        environment.extend(self.set.iter().map(|(name, value)| ((*name).into(), value.clone())));
        environment
    }

    /// Does this variable speak of a PMI server or a rank that is not this step's?
    fn drops(&self, name: &OsStr) -> bool {
        let kept_for_prolog =
            self.way == Way::Prolog && REPLACED.iter().any(|(_, keeper)| name == *keeper);
        // Settings of the user's for a server of Slurm's, which may yet serve the step.
        let kept_for_slurm = self.way == Way::Plugin { by_default: true }
            && name.as_bytes().starts_with(b"PMIX_MCA_");
        is_outer(name) && !kept_for_prolog && !kept_for_slurm
    }
}

impl Way {
    /// What there is to tell besides where the server is.
    fn variables(self) -> Result<Vec<(&'static str, OsString)>, Error> {
        Ok(match self {
            Way::Wrapper => vec![
                ("SLURM_TASK_PROLOG", prolog()?.into()),
                ("SLURM_MPI_TYPE", "none".into()),
                ("SLURM_PMI_SRUN", std::process::id().to_string().into()),
            ],
            Way::Prolog => Vec::new(),
            Way::Plugin { by_default } => {
                vec![("SLURM_PMI_SPANK", if by_default { "default" } else { "yes" }.into())]
            }
        })
    }

    fn replaced(self) -> &'static [(&'static str, &'static str)] {
        if self == Way::Wrapper { &REPLACED } else { &[] }
    }
}

fn is_outer(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    (bytes.starts_with(b"PMI") || bytes.starts_with(b"SLURM_PMI") || bytes.starts_with(b"HYDI_"))
        && name != CHOICE
        && is_foreign(name)
}

/// The task prolog, by a path that the nodes know too.
fn prolog() -> Result<PathBuf, Error> {
    let installation =
        Installation::of_this_program().map_err(Error::system("find this program"))?;
    installation.companion("pmi-task-prolog")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_had_is_kept_and_what_an_outer_job_left_is_not() {
        let handover = Handover {
            way: Way::Wrapper,
            set: vec![("SLURM_TASK_PROLOG", "ours".into()), ("PMI_KVS_JOB", "new".into())],
        };
        let ours = [
            ("A", "1"),
            ("SLURM_TASK_PROLOG", "mine"),
            ("SLURM_JOB_ID", "7"),
            ("SLURM_STEP_ID", "0"),
            ("PMI_KVS_JOB", "old"),
            ("PMI_RANK", "0"),
            ("PMI_DEBUG", "1"),
            ("SLURM_PMI_KVS_SECRET", "x"),
            ("SLURM_PMI_KVS", "no"),
        ];
        let ours = ours.into_iter().map(|(name, value)| (name.into(), value.into()));
        let expected = [
            ("A", "1"),
            ("PMI_DEBUG", "1"),
            ("PMI_KVS_JOB", "new"),
            ("SLURM_JOB_ID", "7"),
            ("SLURM_PMI_KVS", "no"),
            ("SLURM_PMI_TASK_PROLOG", "mine"),
            ("SLURM_STEP_ID", "0"),
            ("SLURM_TASK_PROLOG", "ours"),
        ];
        let expected = expected.map(|(name, value)| (name.into(), value.into()));
        assert_eq!(handover.environment(ours), Environment::from(expected));
    }
}
