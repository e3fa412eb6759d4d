//! The first words with a server: who it is, and who we are to it.

use pmi_protocol::limits::{KEY_MAX, VALUE_MAX};
use pmi_wire::Dialect;
use pmi_wire::client::{Answer, Call, Maxima};
use pmi_wire::limits::{KVSNAME_MAX, SLURM_LINE_MAX};

use super::kind::Kind;
use super::talk::Talk;
use crate::backend::Place;
use crate::environment::Placement;
use crate::error::BackendError;

/// What the server told us.
pub(super) struct Joined {
    pub place: Place,
    pub kvsname: String,
    pub maxima: Maxima,
    pub kind: Kind,
}

/// PMI-2 has no call for them; Slurm carries longer values than our own server, which are of no use here.
const PMI2_MAXIMA: Maxima = Maxima { kvsname: KVSNAME_MAX, key: KEY_MAX + 1, value: VALUE_MAX + 1 };

/// Joins by PMI-1. `id` is the `PMI_ID` of a process that came by `PMI_PORT`.
pub(super) fn by_pmi1(
    talk: &Talk,
    placement: &Placement,
    id: Option<&str>,
) -> Result<Joined, BackendError> {
    let mut place = Place::from(placement);
    if let Some(id) = id {
        (place.rank, place.size) = identity(talk, &Call::InitAck { id: id.as_bytes() })?.0;
    }
    let subversion = talk.ask(&Call::Init, |answer| match *answer {
        Answer::Init { version: 1, subversion } => Some(subversion),
        _ => None,
    })?;
    let maxima = talk.ask(&Call::Maxes, |answer| match *answer {
        Answer::Maxes(maxima) => Some(maxima),
        _ => None,
    })?;
    let kind = Kind::of(subversion, &maxima, placement.wire.job.is_some());
    talk.know(kind.name(), (kind == Kind::Slurm).then_some(SLURM_LINE_MAX));
    let kvsname = name(talk)?;
    place.appnum = number(talk, &Call::Appnum)?.unwrap_or(placement.appnum);
    // Hydra and gforker answer -1: unknown.
    place.universe_size = number(talk, &Call::UniverseSize)?.unwrap_or(0).max(place.size);
    Ok(Joined { place, kvsname, maxima, kind })
}

/// Joins Slurm's server by PMI-2.
pub(super) fn by_pmi2(talk: &Talk, placement: &Placement) -> Result<Joined, BackendError> {
    talk.ask(&Call::Init, |answer| match answer {
        Answer::Init { version: 2, .. } => Some(()),
        _ => None,
    })?;
    talk.know(Kind::Slurm.name(), None);
    let job = placement.wire.job.as_ref().map(|job| job.as_bytes());
    let mut place = Place::from(placement);
    let ((rank, size), appnum) = identity(talk, &Call::FullInit { rank: place.rank, job })?;
    (place.rank, place.size) = (rank, size);
    place.appnum = appnum.unwrap_or(placement.appnum);
    place.universe_size = place.universe_size.max(size);
    Ok(Joined { place, kvsname: name(talk)?, maxima: PMI2_MAXIMA, kind: Kind::Slurm })
}

type Identity = ((u32, u32), Option<u32>);

/// Rank and size, and what the server says of the appnum: Slurm says -1.
fn identity(talk: &Talk, call: &Call<'_>) -> Result<Identity, BackendError> {
    talk.ask(call, |answer| match answer {
        Answer::Identity { rank, size, appnum, .. } if rank < size => {
            Some(((*rank, *size), appnum.and_then(|appnum| u32::try_from(appnum).ok())))
        }
        _ => None,
    })
}

/// A number that the server may not know: negative, or refused.
fn number(talk: &Talk, call: &Call<'_>) -> Result<Option<u32>, BackendError> {
    talk.ask(call, |answer| match answer {
        Answer::Number(number) => Some(u32::try_from(*number).ok()),
        Answer::Failed { .. } => Some(None),
        _ => None,
    })
}

fn name(talk: &Talk) -> Result<String, BackendError> {
    talk.ask(&Call::MyName, |answer| match answer {
        Answer::Name(name) => String::from_utf8(name.to_vec()).ok().filter(|name| !name.is_empty()),
        _ => None,
    })
}

/// Would this talk be in PMI-2? Only Slurm's server is known to speak it well: Intel's Hydra closes the connection,
/// gforker has none.
pub(super) fn dialect(placement: &Placement, wants_pmi2: bool) -> Dialect {
    match wants_pmi2 && placement.wire.job.is_some() {
        true => Dialect::V2,
        false => Dialect::V1,
    }
}
