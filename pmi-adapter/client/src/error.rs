//! Return codes of PMI-1 and PMI-2, and failures on their way to one.

pub use pmi_board::session::Error as BackendError;

/// The return codes of `pmi.h`. Those of `pmi2.h` have the same numbers and names, but for the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    /// `PMI_FAIL`: the call failed; a reason stands on stderr unless PMI was not initialised.
    Fail = -1,
    /// `PMI_SUCCESS`
    Success = 0,
    /// `PMI2_ERR_INIT`: not initialised. PMI-1 functions return `PMI_FAIL` then, as in Slurm's library.
    Init = 1,
    /// `PMI_ERR_NOMEM`: the buffer is too small (`PMI_Get_options` only).
    NoMem = 2,
    /// `PMI_ERR_INVALID_ARG`
    InvalidArg = 3,
    /// `PMI_ERR_INVALID_KEY`: the key is NULL, empty or too long, or there is no such key.
    InvalidKey = 4,
    /// `PMI_ERR_INVALID_KEY_LENGTH`: the key does not fit into the buffer.
    InvalidKeyLength = 5,
    /// `PMI_ERR_INVALID_VAL`: the value is NULL or too long.
    InvalidVal = 6,
    /// `PMI_ERR_INVALID_VAL_LENGTH`: the value does not fit into the buffer (iteration).
    InvalidValLength = 7,
    /// `PMI_ERR_INVALID_LENGTH`: the result does not fit into the buffer.
    InvalidLength = 8,
    /// `PMI_ERR_INVALID_NUM_ARGS`
    InvalidNumArgs = 9,
    /// `PMI_ERR_INVALID_ARGS`
    InvalidArgs = 10,
    /// `PMI_ERR_INVALID_NUM_PARSED`
    InvalidNumParsed = 11,
    /// `PMI_ERR_INVALID_KEYVALP`
    InvalidKeyvalp = 12,
    /// `PMI_ERR_INVALID_SIZE`
    InvalidSize = 13,
    /// `PMI_ERR_INVALID_KVS`: there is no such key-value space. In PMI-2 this number is [`Code::OTHER`].
    InvalidKvs = 14,
}

impl Code {
    /// `PMI2_ERR_OTHER`: in MPICH's and Slurm's libraries a key without a value, among others.
    pub const OTHER: Code = Code::InvalidKvs;
}

/// Why a call does not return `PMI_SUCCESS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the call returns.
    pub code: Code,
    /// What a person should read on stderr; `None` where the code says it all.
    pub reason: Option<String>,
}

impl Failure {
    /// `PMI_FAIL` with a reason.
    pub fn because(reason: impl Into<String>) -> Failure {
        Failure { code: Code::Fail, reason: Some(reason.into()) }
    }
}

impl From<Code> for Failure {
    fn from(code: Code) -> Failure {
        Failure { code, reason: None }
    }
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Failure {
        match error {
            BackendError::NoSuchSpace => Code::InvalidKvs.into(),
            BackendError::NoSuchKey | BackendError::KeyLength => Code::InvalidKey.into(),
            BackendError::ValueLength => Code::InvalidVal.into(),
            BackendError::Full(reason)
            | BackendError::Over(reason)
            | BackendError::Timeout(reason)
            | BackendError::Refused(reason)
            | BackendError::System(reason) => Failure::because(reason),
            other => Failure::because(format!("{other:?}")),
        }
    }
}

/// As `From`, for calls whose only argument is the kvsname: a wrong one is `PMI_ERR_INVALID_ARG` there.
pub fn of_kvsname_argument(error: BackendError) -> Failure {
    match error {
        BackendError::NoSuchSpace => Code::InvalidArg.into(),
        other => other.into(),
    }
}
