//! What a key-value server needs of the operating system: its UDP sockets and its log memory. Lean, because the server
//! of a step without a launcher runs in a process forked off an MPI program.

pub mod memory;
pub mod sockets;
pub mod udp;
