//! Limits of the protocol, with their reasons.

/// Bytes of a kvsname with its terminating NUL, as announced to clients; what Hydra, gforker and Slurm announce.
pub const KVSNAME_MAX: usize = 256;

/// Bytes of a key with its terminating NUL, as announced; NVSHMEM returns wrong data below 38.
pub const KEY_MAX: usize = 64;

/// Bytes of a value with its terminating NUL, as announced. Odd maxima abort MPICH, larger ones make NVSHMEM
/// corrupt its data.
pub const VALUE_MAX: usize = 1024;

/// Largest PMI-1 line, its newline included: room for every announced maximum at once, and for the 4,096 bytes of
/// Intel's value maximum, with as much again for the names around them.
pub const LINE_MAX: usize = 8192;

/// Largest body of a PMI-2 message, as in `PMII_MAX_COMMAND_LEN` of MPICH and Slurm. The length header could
/// announce 999,999.
pub const MESSAGE_MAX: usize = 64 * 1024;

/// Bytes of the decimal length before each PMI-2 message.
pub const HEADER: usize = 6;

/// Largest PMI-1 spawn request (all its `mcmd=spawn` … `endcmd` blocks together): as much as a PMI-2 one.
pub const SPAWN_MAX: usize = MESSAGE_MAX;

/// Most commands of one spawn request. MPI programs spawn a handful.
pub const SPAWN_COMMANDS_MAX: usize = 1024;

/// Most attributes of one message. A spawn request has two for each argument, info key and preput.
pub const ATTRIBUTES_MAX: usize = 8192;

/// Bytes of a PMI-2 thread id that is given back with the answer. MPICH and Slurm print a pointer: 18.
pub const THREAD_ID_MAX: usize = 32;

/// Most memory that a connection uses for what comes in: the longest message may have come in all but a byte when there
/// must be room for more, and memory is doubled when it is short.
pub const BUFFER_MAX: usize = 2 * MESSAGE_MAX;

/// Longest PMI-1 line, newline included, that the server of `srun --mpi=pmi2` reads in one piece; one more byte
/// and it ends the step.
pub const SLURM_LINE_MAX: usize = 1024;

const _: () = assert!(KVSNAME_MAX + KEY_MAX + VALUE_MAX < LINE_MAX);
const _: () = assert!(LINE_MAX <= MESSAGE_MAX && SPAWN_MAX <= MESSAGE_MAX);
const _: () = assert!(VALUE_MAX.is_multiple_of(2));
const _: () = assert!(SLURM_LINE_MAX <= LINE_MAX);
const _: () = assert!(SPAWN_COMMANDS_MAX <= ATTRIBUTES_MAX);
