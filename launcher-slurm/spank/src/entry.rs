//! What Slurm looks for in the plugin: its name, its version, and the hooks, each a guard around safe code.
//!
//! A hook of slurmd and slurmstepd that failed would drain the node, so none does. A task that cannot be served is ended
//! with a message.

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::local;
use crate::settings::Settings;
use crate::slurm::{
    CommandOption, Context, SLURM_VERSION_NUMBER, Spank, arguments, complain, context, end_task,
    spank_t,
};
use crate::task;

/// What the file is, for whoever looks into it: `scripts/install` does.
#[used]
static IDENTITY: &str =
    concat!("spank_pmi ", env!("CARGO_PKG_VERSION"), " for Slurm ", env!("SLURM_VERSION"), "\n");

/// The plugin's name (spank.h, `SPANK_PLUGIN`).
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static plugin_name: [u8; 10] = *b"spank_pmi\0";

/// Its kind.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static plugin_type: [u8; 6] = *b"spank\0";

/// The Slurm that it was built for: Slurm refuses it where the first two parts of the version are others.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static plugin_version: c_uint = SLURM_VERSION_NUMBER;

/// A number of the plugin's own.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static spank_plugin_version: c_uint = 1;

const SUCCESS: c_int = 0;
const FAILURE: c_int = -1;

/// Exit code of a task that is not begun.
const NOT_BEGUN: c_int = 1;

static OPTION: CommandOption = CommandOption::new(
    c"pmi-kvs",
    c"[yes|no]",
    c"start a PMI server for the step, for MPI and other programs that need PMI; in sbatch and salloc: for the job's steps, unless they say otherwise",
    on_option,
);

/// Runs a hook's code: no panic leaves it.
fn guarded(act: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(act))
        .unwrap_or_else(|_| Err("internal error; please report what is above".to_owned()))
}

/// The value of `--pmi-kvs`. In slurmstepd there is nothing to do: srun's environment tells.
extern "C" fn on_option(_number: c_int, value: *const c_char, remote: c_int) -> c_int {
    if remote != 0 {
        return SUCCESS;
    }
    let value = match value.is_null() {
        true => c"",
        // SAFETY: Slurm passes a string that lives as long as this call.
        false => unsafe { CStr::from_ptr(value) },
    };
    match local::choose(value.to_str().unwrap_or("\u{fffd}")) {
        true => SUCCESS,
        false => FAILURE,
    }
}

/// Slurm has loaded the plugin.
///
/// # Safety
/// Called by Slurm.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slurm_spank_init(
    handle: spank_t,
    count: c_int,
    values: *mut *mut c_char,
) -> c_int {
    let done = guarded(|| {
        let context = context();
        if context == Context::Other {
            return Ok(());
        }
        // SAFETY: Slurm has just passed them.
        let (spank, words) = unsafe { (Spank::new(handle), arguments(count, values)) };
        spank.register(&OPTION)?;
        match (context, Settings::parse(words)) {
            (Context::Local, Ok(settings)) => local::prepare(&settings),
            // What is wrong with them is said where it matters.
            _ => Ok(()),
        }
    });
    done.unwrap_or_else(|text| complain(&text));
    SUCCESS
}

/// The options are known, and no job or step is there yet.
///
/// # Safety
/// Called by Slurm.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slurm_spank_init_post_opt(
    _handle: spank_t,
    count: c_int,
    values: *mut *mut c_char,
) -> c_int {
    let context = context();
    let done = guarded(|| match context {
        // SAFETY: Slurm has just passed them.
        Context::Local => local::begin(Settings::parse(unsafe { arguments(count, values) })),
        // Slurm itself hands the option on to the job's steps.
        Context::Allocator | Context::Remote | Context::Other => Ok(()),
    });
    if let Err(text) = done {
        complain(&text);
        if context == Context::Local {
            // srun has nothing to undo yet. Going on, as it does with an optional plugin, would start every rank as a
            // job of one.
            std::process::exit(NOT_BEGUN);
        }
    }
    SUCCESS
}

/// This process will be a task, and is its user's already.
///
/// # Safety
/// Called by Slurm.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slurm_spank_task_init(
    handle: spank_t,
    count: c_int,
    values: *mut *mut c_char,
) -> c_int {
    let done = guarded(|| {
        // SAFETY: Slurm has just passed them.
        let (spank, words) = unsafe { (Spank::new(handle), arguments(count, values)) };
        task::begin(&spank, words)
    });
    match done {
        Ok(()) => SUCCESS,
        Err(text) => {
            complain(&text);
            end_task(NOT_BEGUN)
        }
    }
}
