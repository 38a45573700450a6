//! TEMPORARY until completion-port has timers: an eventfd per source and a sleeping thread per timer.

use completion_port::{Port, SourceRef, Token};
use rustix::event::{EventfdFlags, eventfd};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;
use std::time::Instant;

static FDS: Mutex<Option<HashMap<u64, OwnedFd>>> = Mutex::new(None);

pub(crate) fn insert<P: Port>(port: &P, source: SourceRef) -> io::Result<Token> {
    let fd = eventfd(0, EventfdFlags::CLOEXEC)?;
    let token = port.attach(fd.as_fd(), source)?;
    FDS.lock().unwrap().get_or_insert_default().insert(token.0, fd);
    Ok(token)
}

pub(crate) fn set_timer<P: Port>(port: &P, token: Token, at: Option<Instant>) -> io::Result<()> {
    let port = port.clone();
    if let Some(at) = at {
        std::thread::spawn(move || {
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            port.schedule(token);
        });
    }
    Ok(())
}

pub(crate) fn now<P: Port>(_: &P) -> Instant {
    Instant::now()
}

pub(crate) fn forget<P: Port>(port: &P, token: Token) {
    if let Some(fd) = FDS.lock().unwrap().get_or_insert_default().remove(&token.0) {
        port.detach(fd.as_fd(), token);
    }
}
