//! A thread that sleeps on the board for the event loop, which can only sleep on descriptors.
//!
//! It is started when somebody of another process leads the node's barrier, or when a rank waits for a node attribute
//! that another process may put: not in a job whose ranks all are this bridge's.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use nix::sys::eventfd::{EfdFlags, EventFd};

/// A sleep: returns when there is something to look at.
pub type Sleep = Box<dyn FnOnce() + Send>;

/// The thread, seen from the event loop.
pub struct Waiter {
    bell: Arc<EventFd>,
    sleeps: Option<Sender<Sleep>>,
    asleep: bool,
}

impl Waiter {
    /// Makes the descriptor that tells of a sleep's end; the thread begins with the first sleep.
    pub fn new() -> nix::Result<Waiter> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let bell = Arc::new(EventFd::from_value_and_flags(0, flags)?);
        Ok(Waiter { bell, sleeps: None, asleep: false })
    }

    /// Lets the thread sleep, unless it does so already.
    pub fn sleep(&mut self, sleep: impl FnOnce() + Send + 'static) {
        if !self.asleep {
            let bell = &self.bell;
            let sleeps = self.sleeps.get_or_insert_with(|| start(bell.clone()));
            self.asleep = sleeps.send(Box::new(sleep)).is_ok();
        }
    }

    /// Takes note of the bell.
    pub fn woken(&mut self) {
        // Empty if it was noticed before.
        let _ = self.bell.read();
        self.asleep = false;
    }
}

impl AsFd for Waiter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

fn start(bell: Arc<EventFd>) -> Sender<Sleep> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || live(&receiver, &bell));
    sender
}

fn live(sleeps: &Receiver<Sleep>, bell: &EventFd) {
    while let Ok(sleep) = sleeps.recv() {
        sleep();
        // Fails only if the counter is full, and then the loop has enough to wake up for.
        let _ = bell.write(1);
    }
}
