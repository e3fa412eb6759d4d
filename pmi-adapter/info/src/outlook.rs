//! What `PMI_Init` would find and decide, without doing it.

use pmi_client::backend::probe::{self, Choice};
use pmi_client::environment::descriptor::Descriptor;
use pmi_client::environment::{Placement, RECORD};
use pmi_step::munge;
use serde::Serialize;

/// The place of this process, or what is wrong with its environment.
pub struct Outlook {
    /// As `PMI_Init` reads it.
    pub placement: Option<Placement>,
    /// Was there a record of what our starter left?
    pub recorded: bool,
    /// What it would join.
    pub backend: Backend,
    /// Why it would fail, with what to do.
    pub failure: Option<String>,
}

/// What would be joined.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Backend {
    /// Which kind; none if `PMI_Init` would fail.
    pub taken: Option<&'static str>,
    /// The same for a person.
    pub text: Option<String>,
    /// Why what comes first in the order was not taken.
    pub passed_by: Vec<String>,
}

/// A variable as `PMI_Init` reads it.
pub fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// Reads the environment of this process.
pub fn read() -> Outlook {
    let recorded = variable(RECORD).is_some_and(|record| !record.is_empty());
    match Placement::read(&variable) {
        Ok(placement) => decided(placement, recorded),
        Err(error) => Outlook {
            placement: None,
            recorded,
            backend: Backend::default(),
            failure: Some(error.to_string()),
        },
    }
}

fn decided(placement: Placement, recorded: bool) -> Outlook {
    let (backend, failure) = match probe::decide(&placement, &Descriptor::inspect) {
        Ok(decision) => match missing(&decision) {
            None => (Backend::of(&decision), None),
            Some(text) => {
                let backend = Backend { passed_by: decision.passed_by, ..Backend::default() };
                (backend, Some(without_munge(&placement, &text)))
            }
        },
        Err(text) => (Backend::default(), Some(failure(&placement, text))),
    };
    Outlook { placement: Some(placement), recorded, backend, failure }
}

impl Backend {
    fn of(decision: &probe::Decision<'_>) -> Backend {
        let taken = match decision.choice {
            Choice::Kvs(_) => "server",
            Choice::Descriptor(_) => "descriptor",
            Choice::Port(_) => "port",
            Choice::Step(_) => "step",
            Choice::Singleton => "alone",
        };
        Backend {
            taken: Some(taken),
            text: Some(match decision.choice {
                Choice::Step(_) => format!("{} (MUNGE is there)", decision.choice),
                other => other.to_string(),
            }),
            passed_by: decision.passed_by.clone(),
        }
    }
}

/// What `PMI_Init` would miss, beyond what the environment says: a step's ranks agree on their key through MUNGE.
fn missing(decision: &probe::Decision<'_>) -> Option<String> {
    let needed = matches!(decision.choice, Choice::Step(_));
    needed.then(munge::probe)?.err().map(|trouble| trouble.to_string())
}

fn without_munge(placement: &Placement, trouble: &str) -> String {
    let variable = placement.told_by.size.unwrap_or("the size");
    format!(
        "{variable}={} but no PMI server, and without MUNGE the ranks cannot start one: {trouble}. Install libmunge.so.2 \
         and run munged on every node, or start the program with pmi-srun, with srun --mpi=pmi2, or with pmi-ssh",
        placement.size
    )
}

/// The most frequent case in short, and with the variable that makes it one; the others in the words of `PMI_Init`.
fn failure(placement: &Placement, text: String) -> String {
    let somebody = placement.wire.descriptor.is_some() || placement.wire.port.is_some();
    let Some(variable) = placement.told_by.size.filter(|_| !somebody) else { return text };
    let srun = if placement.source == Some("Slurm") {
        "with pmi-srun, with srun --mpi=pmi2, "
    } else {
        ""
    };
    let outer = match placement.changed_since.as_slice() {
        [] => String::new(),
        changed => format!(
            " (PMI_KVS_SERVER is an outer job's: another starter, or a script, has since set {})",
            changed.join(", ")
        ),
    };
    format!(
        "{variable}={} but no PMI server{outer}: start the program {srun}with pmi-ssh, or start pmi-kvs-server and put \
         pmi-exec before the program",
        placement.size
    )
}
