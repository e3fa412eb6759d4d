//! What a key-value server needs of the operating system: its sockets and its log memory. Lean, because the server
//! of a step without a launcher runs in a process forked off an MPI program.

pub mod lifelines;
pub mod memory;
pub mod sockets;
pub mod udp;
