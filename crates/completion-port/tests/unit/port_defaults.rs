//! The default methods of `Port`, for a port that a program implements itself.

use crate::common::{Scripted, pair};
use completion_port::memory::TryArc;
use completion_port::sys::Errno;
use completion_port::{
    Direction, Dispatch, Interest, Port, Readiness, RegisterError, Registration, Source, SourceRef, Token,
};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, BorrowedFd, RawFd};
use std::time::Instant;

#[derive(Clone)]
struct Bare;

impl Port for Bare {
    fn attach(&self, _: BorrowedFd<'_>, _: SourceRef) -> io::Result<Token> {
        Ok(Token(1))
    }

    fn detach(&self, _: BorrowedFd<'_>, _: Token) {}

    fn forget(&self, _: Token) {}

    fn attach_once(&self, _: BorrowedFd<'_>, _: Interest, _: SourceRef) -> io::Result<Token> {
        Ok(Token(1))
    }

    fn rearm(&self, _: BorrowedFd<'_>, _: Token, _: Interest) -> io::Result<()> {
        Ok(())
    }

    fn detach_once(&self, _: BorrowedFd<'_>, _: Token) {}

    fn forget_once(&self, _: RawFd, _: Token) {}

    fn schedule(&self, _: Token) {}

    fn is_current_thread(&self) -> bool {
        false
    }

    fn is_on_port_thread(&self) -> bool {
        false
    }
}

struct Nothing;

impl Source for Nothing {
    fn on_ready(&self, _: Readiness) -> Dispatch {
        Dispatch::Idle
    }

    fn queued(&self, _: Direction) -> usize {
        0
    }
}

#[test]
fn what_it_does_not_implement_it_refuses_or_denies() {
    let (descriptor, _peer) = pair();
    let before = Instant::now();

    let refused = [
        Bare.insert(TryArc::new(Nothing).into()).map(drop).expect_err("no sources without a descriptor").kind(),
        Bare.set_timer(Token(1), None).expect_err("no timers").kind(),
        Bare.watch(descriptor.as_fd(), Token(1)).expect_err("no watching later").kind(),
    ];

    assert_eq!(refused, [ErrorKind::Unsupported; 3]);
    assert_eq!((Bare.has_failed(Errno::BADF), Bare.counts_callbacks(), Bare.number()), (false, false, None));
    assert!(Bare.now() >= before);
}

#[test]
fn a_registration_on_it_is_watched_at_once_or_not_at_all() {
    let lazy = Registration::new(Bare, Scripted::default(), pair().0);
    let eager = Registration::new(Bare, Scripted::default(), pair().0);

    let refused = lazy.register_lazily(|| ()).expect_err("it takes no source without a descriptor");

    assert!(matches!(&refused, RegisterError::Kernel(error) if error.kind() == ErrorKind::Unsupported), "{refused:?}");
    eager.register(|| ()).unwrap();
}
