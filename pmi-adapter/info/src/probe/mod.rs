//! Measures a job from inside, through the same calls as `libpmi.so.0`.

mod measure;
mod summary;
mod times;

use std::process::ExitCode;
use std::time::Duration;

use pmi_client::backend::Api;
use pmi_client::error::Failure;
use pmi_client::{debug, process};
use serde::Serialize;

use crate::outlook;
use crate::report::host;
use crate::verdict::FAILED;

/// Bytes of a value, if not told: as much as one address.
const SIZE: u16 = 64;

/// How long a rank that has told why it fails waits before it ends the job. Hydra drops what it has not yet forwarded
/// then: without a pause the reason was lost in 15 of 40 jobs.
const FORWARDING: Duration = Duration::from_millis(250);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Barriers.
    Barrier,
    /// Put, commit, barrier, and gets of all that the others have put.
    Exchange,
    /// Gets.
    Get,
}

impl Kind {
    /// The kind that a word on the command line asks for.
    pub fn named(word: &str) -> Option<Kind> {
        [Kind::Barrier, Kind::Exchange, Kind::Get].into_iter().find(|kind| kind.name() == word)
    }

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Barrier => "barrier",
            Kind::Exchange => "exchange",
            Kind::Get => "get",
        }
    }

    /// How often, if not told.
    fn count(self) -> u32 {
        match self {
            Kind::Barrier => 100,
            Kind::Exchange => 1,
            Kind::Get => 1000,
        }
    }
}

/// What to measure, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    kind: Kind,
    count: u32,
    /// Bytes of each value.
    size: usize,
    api: Api,
}

impl Request {
    /// With what is not told filled in.
    pub fn new(kind: Kind, count: Option<u32>, size: Option<u16>, pmi2: bool) -> Request {
        Request {
            kind,
            count: count.unwrap_or(kind.count()),
            size: usize::from(size.unwrap_or(SIZE)),
            api: if pmi2 { Api::Pmi2 } else { Api::Pmi1 },
        }
    }
}

/// Joins, measures, leaves; rank 0 prints.
pub fn run(request: &Request, json: bool) -> ExitCode {
    debug::start();
    match measure::run(request) {
        Ok(Some(summary)) => {
            crate::print(if json { crate::json(&summary) } else { summary.text() });
            ExitCode::SUCCESS
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(failure) => fail(request.kind, failure, json),
    }
}

/// What a rank prints that has failed.
#[derive(Serialize)]
struct Failed {
    form: Kind,
    version: &'static str,
    rank: Option<u32>,
    host: String,
    exit_code: u8,
    advice: String,
}

/// Tells the user, and the job if this process is a member: the others would wait for it.
fn fail(kind: Kind, failure: Failure, json: bool) -> ExitCode {
    let advice = failure.reason.unwrap_or_else(|| format!("a call returned {:?}", failure.code));
    if json {
        crate::print(crate::json(&Failed::new(kind, &advice)));
    }
    eprintln!("pmi-info: {}: {advice}", host());
    if let Some(member) = process::member() {
        std::thread::sleep(FORWARDING);
        member.backend().abort(i32::from(FAILED), &advice);
    }
    ExitCode::from(FAILED)
}

impl Failed {
    fn new(form: Kind, advice: &str) -> Failed {
        let placement = outlook::read().placement;
        Failed {
            form,
            version: env!("CARGO_PKG_VERSION"),
            rank: placement.and_then(|placement| placement.source.map(|_| placement.rank)),
            host: host(),
            exit_code: FAILED,
            advice: advice.to_owned(),
        }
    }
}
