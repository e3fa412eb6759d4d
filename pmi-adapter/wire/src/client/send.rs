//! From a call to the bytes that are sent, or the reason why they are not.

use crate::Dialect;
use crate::compose::Composer;
use crate::limits::VALUE_MAX;

use super::call::Call;
use super::unsendable::Unsendable;

/// Longest message of an abort: a message of any length fits whatever limit a server has.
const TEXT_MAX: usize = 256;

const _: () = assert!(TEXT_MAX < VALUE_MAX);

/// How a client writes to its server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    pub(super) dialect: Dialect,
    /// Bytes that the server reads as one message.
    pub(super) message_max: usize,
    /// Whether the server may have the parser of MPICH 4.1 and later, which takes backslashes out of PMI-1 values and
    /// takes an empty PMI-2 value for a broken message.
    pub(super) picky: bool,
}

impl Sender {
    /// Appends the bytes of `call`, or nothing.
    pub(super) fn write(&self, call: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Unsendable> {
        for (field, text) in fields(call) {
            self.check(field, text)?;
        }
        let start = out.len();
        let length = match (call, self.dialect) {
            (Call::Init, dialect) => init(dialect, out),
            (_, Dialect::V1) => line(call, out)?,
            (_, Dialect::V2) => message(call, out)?,
        };
        if length > self.message_max {
            out.truncate(start);
            return Err(Unsendable::MessageTooLong { length, limit: self.message_max });
        }
        Ok(())
    }

    fn check(&self, field: &'static str, text: &[u8]) -> Result<(), Unsendable> {
        let may_be_empty = field == "value" && self.dialect == Dialect::V2 && !self.picky;
        if text.is_empty() && !may_be_empty {
            return Err(Unsendable::Empty { field });
        }
        match text.iter().position(|byte| self.is_lost(*byte)) {
            Some(position) => Err(Unsendable::Byte { field, byte: text[position], position }),
            None => Ok(()),
        }
    }

    /// Whether a byte would not reach the other clients as it is.
    fn is_lost(&self, byte: u8) -> bool {
        match (byte, self.dialect) {
            (0, _) | (b' ' | b'\n', Dialect::V1) | (b';', Dialect::V2) => true,
            (b'\\', Dialect::V1) => self.picky,
            _ => false,
        }
    }
}

/// What of a call must arrive as it is.
fn fields<'a>(call: &Call<'a>) -> impl Iterator<Item = (&'static str, &'a [u8])> + use<'a> {
    let fields: [Option<(&'static str, &'a [u8])>; 3] = match *call {
        Call::InitAck { id } => [Some(("pmiid", id)), None, None],
        Call::FullInit { job, .. } => [job.map(|job| ("pmijobid", job)), None, None],
        Call::Put { space, key, value } => {
            [Some(("kvsname", space)), Some(("key", key)), Some(("value", value))]
        }
        Call::Get { space, key, .. } => [Some(("kvsname", space)), Some(("key", key)), None],
        Call::JobAttribute { key } | Call::GetNodeAttribute { key, .. } => {
            [Some(("key", key)), None, None]
        }
        Call::PutNodeAttribute { key, value } => [Some(("key", key)), Some(("value", value)), None],
        Call::Ring { left, right, .. } => [Some(("value", left)), Some(("value", right)), None],
        _ => [None; 3],
    };
    fields.into_iter().flatten()
}

/// The version asked for: Slurm accepts 1.1 and 2.0 and nothing else.
fn init(dialect: Dialect, out: &mut Vec<u8>) -> usize {
    let (version, subversion) = match dialect {
        Dialect::V1 => (1, 1),
        Dialect::V2 => (2, 0),
    };
    let mut line = Composer::new(Dialect::V1, "init", out);
    line.number("pmi_version", version).number("pmi_subversion", subversion).finish()
}

fn line(call: &Call<'_>, out: &mut Vec<u8>) -> Result<usize, Unsendable> {
    let line = |name, out| Composer::new(Dialect::V1, name, out);
    Ok(match *call {
        Call::InitAck { id } => line("initack", out).text("pmiid", id).finish(),
        Call::Maxes => line("get_maxes", out).finish(),
        Call::Appnum => line("get_appnum", out).finish(),
        Call::UniverseSize => line("get_universe_size", out).finish(),
        Call::MyName => line("get_my_kvsname", out).finish(),
        Call::Put { space, key, value } => {
            line("put", out).text("kvsname", space).text("key", key).text("value", value).finish()
        }
        Call::Get { space, key, .. } => {
            line("get", out).text("kvsname", space).text("key", key).finish()
        }
        Call::Barrier => line("barrier_in", out).finish(),
        Call::Finalize => line("finalize", out).finish(),
        Call::Abort { code, message } => {
            let mut line = line("abort", out);
            line.number("exitcode", code);
            if !message.is_empty() {
                line.text("message", &harmless(message));
            }
            line.finish()
        }
        _ => return Err(Unsendable::NotIn(Dialect::V1)),
    })
}

fn message(call: &Call<'_>, out: &mut Vec<u8>) -> Result<usize, Unsendable> {
    let message = |name, out| Composer::new(Dialect::V2, name, out);
    Ok(match *call {
        Call::FullInit { rank, job } => full_init(rank, job, out),
        Call::MyName => message("job-getid", out).finish(),
        Call::Put { key, value, .. } => {
            message("kvs-put", out).text("key", key).text("value", value).finish()
        }
        Call::Get { space, key, source } => {
            let source = source.map_or(-1, i64::from);
            let mut get = message("kvs-get", out);
            get.text("jobid", space).number("srcid", source).text("key", key).finish()
        }
        Call::Barrier => message("kvs-fence", out).finish(),
        Call::JobAttribute { key } => message("info-getjobattr", out).text("key", key).finish(),
        Call::PutNodeAttribute { key, value } => {
            message("info-putnodeattr", out).text("key", key).text("value", value).finish()
        }
        Call::GetNodeAttribute { key, wait } => {
            message("info-getnodeattr", out).text("key", key).truth("wait", wait).finish()
        }
        Call::Ring { count, left, right } => {
            let mut ring = message("ring", out);
            ring.number("ring-count", count).text("ring-left", left);
            ring.text("ring-right", right).finish()
        }
        Call::Finalize => message("finalize", out).finish(),
        Call::Abort { code, message } => abort(code, message, out),
        _ => return Err(Unsendable::NotIn(Dialect::V2)),
    })
}

fn full_init(rank: u32, job: Option<&[u8]>, out: &mut Vec<u8>) -> usize {
    let mut message = Composer::new(Dialect::V2, "fullinit", out);
    if let Some(job) = job {
        message.text("pmijobid", job);
    }
    message.number("pmirank", rank).truth("threaded", false).finish()
}

/// Hydra 4 and Slurm know `isworld` and `msg`, Hydra 5 `exitcode` and `message`.
fn abort(code: i32, message: &[u8], out: &mut Vec<u8>) -> usize {
    let mut abort = Composer::new(Dialect::V2, "abort", out);
    abort.truth("isworld", true).number("exitcode", code);
    if !message.is_empty() {
        abort.text("msg", &harmless(message)).text("message", &harmless(message));
    }
    abort.finish()
}

/// A message that no server stumbles over.
fn harmless(message: &[u8]) -> Vec<u8> {
    let shown = message.iter().take(TEXT_MAX);
    shown
        .map(|byte| if byte.is_ascii_graphic() && !b";\\".contains(byte) { *byte } else { b'_' })
        .collect()
}
