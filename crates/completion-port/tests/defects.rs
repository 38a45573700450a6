//! DEFECTS: what the library does not do yet. Every test here fails today.

mod common;

use common::{A_WHILE, real_port, received, spawn};
use completion_port::{Action, Interest, OneShots};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::dup2;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use test_doubles::PortSyscall;

type Waiter = Box<dyn FnOnce(Action) + Send>;

// Tests_SRS_COMPLETION_PORT_01_072
#[test]
#[ignore = "DEFECT: all eventfds (timerfds, ...) have one inode: the successor is taken for the old one; ENOENT"]
fn a_successor_with_the_same_inode_is_watched() {
    let event = || eventfd(1, EventfdFlags::NONBLOCK).expect("an eventfd is made");
    let waiting = OneShots::<Waiter, _>::new(real_port().1);
    let mut descriptor = event();
    let (tell, told) = channel();
    waiting.add(descriptor.as_fd(), Interest::OUT, Box::new(move |_| tell.send(()).unwrap_or_default())).unwrap();
    received(&told, "the old one's event");
    dup2(event(), &mut descriptor).unwrap();

    let (tell, told) = channel();
    let added = waiting.add(descriptor.as_fd(), Interest::IN, Box::new(move |_| tell.send(()).unwrap_or_default()));

    assert!(added.is_ok(), "{added:?}");
    received(&told, "the new one's event");
}

// Tests_SRS_COMPLETION_PORT_01_070
#[test]
#[ignore = "DEFECT: an add while another thread removes the same descriptor fails with EEXIST"]
fn an_add_during_a_removal_works() {
    let (calls, port) = real_port();
    let waiting = Arc::new(OneShots::<Waiter, _>::new(port));
    let ours: Arc<OwnedFd> = Arc::new(UnixStream::pair().unwrap().0.into());
    waiting.add(ours.as_fd(), Interest::IN, Box::new(|_| {})).unwrap();
    let (start, started) = channel();
    calls.before(PortSyscall::EpollDelete, 1, move || {
        start.send(()).expect("the test listens");
        thread::sleep(A_WHILE); // The other thread may get in here, or wait.
    });
    let added = spawn({
        let (waiting, ours) = (Arc::clone(&waiting), Arc::clone(&ours));
        move || {
            received(&started, "the removal");
            waiting.add(ours.as_fd(), Interest::IN, Box::new(|_| {}))
        }
    });

    waiting.remove(ours.as_fd());

    let added = received(&added, "the add");
    assert!(added.is_ok(), "{added:?}");
}

/// Someone whose destructor uses the waiting list.
struct Curious(Arc<OneShots<Curious, completion_port::CompletionPort<test_doubles::ScriptedPort>>>);

impl completion_port::Waiter for Curious {
    fn fire(self, _: Action) {}
}

impl Drop for Curious {
    fn drop(&mut self) {
        assert!(format!("{:?}", self.0).contains("OneShots"));
    }
}

// Tests_SRS_COMPLETION_PORT_01_071
#[test]
#[ignore = "DEFECT: a refused waiter is dropped, foreign code, with the list locked: a deadlock"]
fn a_refused_waiter_may_use_the_list_when_it_is_dropped() {
    let waiting = Arc::new(OneShots::new(real_port().1));
    let file = std::fs::File::open("/proc/self/exe").unwrap();

    let refused = spawn(move || waiting.add(file.as_fd(), Interest::IN, Curious(Arc::clone(&waiting))).is_err());

    assert!(received(&refused, "the refusal"));
}
