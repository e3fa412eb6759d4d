//! Which server it is, and which pairs it would cut, alter or die of.
//!
//! Put by one rank and read by another, byte by byte (all of 1 to 255, at the start, in the middle and at the
//! end), with these results; what is not named comes through as it was put.
//!
//! | | Hydra 4.0.2 | Hydra 5.0.2 | gforker 5.0.2 | Intel's Hydra 2021.18 | Slurm 22.05 mpi/pmi2 |
//! |---|---|---|---|---|---|
//! | space in a value | cuts there | cuts there; at the start the job dies | cuts there | cuts there | cuts there |
//! | newline in a value | job dies | job dies | cuts there | cuts there | cuts there |
//! | `\` in a value | kept | lost (escapes the next byte) | kept | kept | kept |
//! | vertical tab in a value | kept | kept | kept | becomes a newline | kept |
//! | empty value | kept | job dies | kept | kept | key is lost |
//! | space in a key | wrong key | job dies or wrong key | wrong key | wrong key | wrong key |
//! | `=` in a key | key is lost | kept | kept | kept | |
//! | newline in a key | job dies | job dies | wrong key | wrong key | |
//! | key of 64 or more bytes | lost | kept | lost | kept | lost |
//! | value of 1,024 or more bytes | cut to 1,023 | kept | cut to 1,023 | kept to 4,095 (the maximum it announces) | |
//! | line of more than 1,024 bytes | | | | | step dies |

use std::fmt;

use pmi_wire::client::Maxima;
