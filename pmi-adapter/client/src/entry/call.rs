//! What every entry point does around its body.

use std::ffi::c_int;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tracing::level_filters::LevelFilter;

use crate::debug;
use crate::error::{Code, Failure};

/// An argument and its name, for the trace.
pub type Named<'a> = (&'static str, &'a dyn Display);

/// Runs a body: traces it, tells the reason of its failure, and turns the outcome into a return code. A panic
/// is a failure like any other: it must not unwind into C.
pub fn enter(
    name: &'static str,
    arguments: &[Named<'_>],
    body: impl FnOnce() -> Result<(), Failure>,
) -> c_int {
    debug::start();
    if LevelFilter::current() >= LevelFilter::DEBUG {
        trace_arguments(name, arguments);
    }
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        Err(Failure::because("internal error: please report the message above"))
    });
    let code = match outcome {
        Ok(()) => Code::Success,
        Err(failure) => fail(name, failure),
    };
    tracing::debug!("{name} -> {}", code as c_int);
    code as c_int
}

/// Runs a body whose result is the answer itself: 0 if it panics.
pub fn answer(name: &'static str, body: impl FnOnce() -> c_int) -> c_int {
    debug::start();
    let answer = catch_unwind(AssertUnwindSafe(body)).unwrap_or(0);
    tracing::debug!("{name}() -> {answer}");
    answer
}

#[cold]
fn trace_arguments(name: &str, arguments: &[Named<'_>]) {
    let list: Vec<_> = arguments.iter().map(|(name, value)| format!("{name}={value}")).collect();
    tracing::debug!("{name}({})", list.join(", "));
}

#[cold]
fn fail(name: &str, failure: Failure) -> Code {
    if let Some(reason) = failure.reason {
        debug::say_once(&format!("{name}: {reason}"));
    }
    failure.code
}
