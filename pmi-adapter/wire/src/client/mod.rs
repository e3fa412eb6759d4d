//! The client's side: calls in, bytes to the server out; bytes of the server in, answers out.

mod answer;
mod call;
mod engine;
mod receive;
mod send;
mod unsendable;

pub use answer::{Answer, Maxima};
pub use call::Call;
pub use engine::Client;
pub use unsendable::Unsendable;
