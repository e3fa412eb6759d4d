//! Which server it is, and which pairs it would cut, alter or die of.

use std::fmt;

use pmi_protocol::limits::VALUE_MAX;
use pmi_wire::client::Maxima;

/// A server, as far as its answers tell it from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Hydra 4 or gforker, or one that behaves like them: PMI 1.1, and nothing else to know it by.
    Plain,
    /// Hydra 5, the first with PMI 1.2.
    Hydra5,
    /// Intel MPI's Hydra: longer values than any other.
    Intel,
    /// Slurm's mpi/pmi2, which sets `PMI_JOBID`.
    Slurm,
}

/// What a server would do with a pair that is refused instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damage(&'static str);

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Kind {
    pub(super) fn of(subversion: u32, maxima: &Maxima, has_job_id: bool) -> Kind {
        match () {
            () if has_job_id => Kind::Slurm,
            () if subversion >= 2 => Kind::Hydra5,
            () if maxima.value > VALUE_MAX => Kind::Intel,
            () => Kind::Plain,
        }
    }

    /// What a person calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Plain => "Hydra 4, gforker or another with PMI 1.1",
            Kind::Hydra5 => "Hydra 5 or later",
            Kind::Intel => "Intel MPI's Hydra",
            Kind::Slurm => "Slurm's mpi/pmi2",
        }
    }

    /// What happens to a pair beyond what the protocol itself cannot carry.
    pub(super) fn check(self, key: &[u8], value: &[u8]) -> Result<(), Damage> {
        match self {
            Kind::Plain if key.contains(&b'=') => {
                Err(Damage("the key has '=', and this PMI server would lose it"))
            }
            Kind::Intel if value.contains(&VERTICAL_TAB) => Err(Damage(
                "the value has a vertical tab, which this PMI server would make a newline",
            )),
            _ => Ok(()),
        }
    }
}

const VERTICAL_TAB: u8 = 0x0b;

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Maxima = Maxima { kvsname: 256, key: 64, value: 1024 };

    #[test]
    fn servers_are_told_apart() {
        let long = Maxima { value: 4096, ..PLAIN };
        for (subversion, maxima, has_job_id, kind) in [
            (1, PLAIN, false, Kind::Plain),
            (2, PLAIN, false, Kind::Hydra5),
            (1, long, false, Kind::Intel),
            (1, PLAIN, true, Kind::Slurm),
        ] {
            assert_eq!(Kind::of(subversion, &maxima, has_job_id), kind);
        }
    }

    #[test]
    fn each_server_refuses_what_it_would_damage() {
        assert!(Kind::Plain.check(b"a=b", b"").is_err());
        assert!(Kind::Intel.check(b"key", b"a\x0bb").is_err());
        for kind in [Kind::Hydra5, Kind::Intel, Kind::Slurm] {
            assert_eq!(kind.check(b"a=b", b"c=d"), Ok(()), "{kind:?}");
        }
        assert_eq!(Kind::Plain.check(b"key", b"a\x0bb"), Ok(()));
    }
}
