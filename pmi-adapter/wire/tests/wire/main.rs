//! The engines as their users see them: against recorded exchanges, against each other, and against anything.

mod feed;
mod plain;
mod real_clients;
mod real_servers;
mod recording;
