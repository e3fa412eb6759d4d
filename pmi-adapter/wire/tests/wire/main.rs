//! The engines as their users see them: against recorded exchanges, against each other, and against anything.

mod answers;
mod feed;
mod fuzz;
mod hostile;
mod plain;
mod real_clients;
mod real_servers;
mod real_spawns;
mod recording;
mod refusals;
mod round_trip;
