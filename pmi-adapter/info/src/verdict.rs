//! The exit code and the last line: how things stand, and what to do.

use pmi_client::environment::Placement;

use crate::outlook::Outlook;
use crate::program::Program;

/// `PMI_Init` would fail, or a probe has.
pub const FAILED: u8 = 1;

/// `PMI_Init` would work, but the program would not join.
pub const STAYS_OUT: u8 = 3;

/// Exit code and last line.
pub fn of(outlook: &Outlook, program: Option<&Program>) -> (u8, String) {
    let placement = match (&outlook.failure, &outlook.placement) {
        (None, Some(placement)) => placement,
        (failure, _) => return without_pmi(failure.clone().unwrap_or_default(), program),
    };
    let slurms_works = slurms_library_works(placement);
    let stays_out = program.and_then(|program| Some((program, program.stays_out(slurms_works)?)));
    match stays_out {
        Some((program, reason)) => (STAYS_OUT, format!("{}: {reason}", program.path.display())),
        None => (0, well(outlook, placement)),
    }
}

/// `PMI_Init` would fail, which is nothing to a program that finds its peers by other means.
fn without_pmi(failure: String, program: Option<&Program>) -> (u8, String) {
    let linked = program.and_then(|program| Some((program, program.finds_peers_itself()?)));
    match linked {
        Some((program, linked)) => {
            let (path, text) = (program.path.display(), &linked.binding.text);
            (
                0,
                format!(
                    "{path}: {} finds its peers by {text}. PMI_Init would fail: {failure}",
                    linked.name
                ),
            )
        }
        None => (FAILED, failure),
    }
}

/// Does Slurm's PMI library find the peers of this process, if it has any? It asks srun, or the server that
/// `--mpi=pmi2` starts, and nobody else.
pub fn slurms_library_works(placement: &Placement) -> bool {
    let outside = placement.source.is_none() && placement.wire.port.is_none();
    outside || placement.source == Some("Slurm") || placement.wire.job.is_some()
}

fn well(outlook: &Outlook, placement: &Placement) -> String {
    let Placement { rank, size, .. } = placement;
    let taken = outlook.backend.text.as_deref().unwrap_or_default();
    match outlook.backend.taken {
        Some("alone") if placement.source.is_none() => {
            "outside any job: PMI_Init makes a job of one process. To start several: pmi-ssh -n N PROGRAM".into()
        }
        Some("alone") => "rank 0 of 1: PMI_Init makes a job of one process".into(),
        // Rank and size are the server's to tell.
        Some("port") => format!("PMI_Init joins {taken}. To see it work: pmi-info barrier"),
        _ => format!("rank {rank} of {size}: PMI_Init joins {taken}. To see it work: pmi-info barrier"),
    }
}
