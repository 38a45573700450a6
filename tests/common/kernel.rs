//! The real system calls. A test can hold up a thread between two of them, and count them.

use crate::wait::Barrier;
use async_socket_linux::SocketSyscalls;
use async_socket_linux::sys::{Errno, Kernel, RecvFlags, SendFlags};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// The kernel with barriers and a counter.
#[derive(Debug, Default)]
pub struct HeldKernel {
    /// The first question at open waits here.
    pub at_open: Mutex<Option<Barrier>>,
    /// The first send that gets `EAGAIN` waits here before it returns.
    pub after_blocked_send: Mutex<Option<Barrier>>,
    /// The first look at the error queue that finds nothing more waits here before it returns.
    pub after_error_queue: Mutex<Option<Barrier>>,
    /// Every send gets `EAGAIN`. For a socket whose `send` would succeed although `poll` reports that it is not
    /// writable.
    pub no_room: bool,
    /// How many times a socket was received from. Several sockets can share it.
    pub receives: Arc<AtomicUsize>,
}

fn wait_at(barrier: &Mutex<Option<Barrier>>) {
    let barrier = barrier.lock().expect("not poisoned").take();
    if let Some(barrier) = barrier {
        barrier.wait();
    }
}

impl HeldKernel {
    fn sent(&self, result: Result<usize, Errno>) -> Result<usize, Errno> {
        if result == Err(Errno::AGAIN) {
            wait_at(&self.after_blocked_send);
        }
        result
    }
}

/// Opens every kind of socket, because some events occur only on datagram sockets.
impl SocketSyscalls for HeldKernel {
    fn is_connecting(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        Kernel.is_connecting(fd)
    }

    fn lingers(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        Kernel.lingers(fd)
    }

    fn stop_lingering(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        Kernel.stop_lingering(fd)
    }

    fn short_read_drains(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        wait_at(&self.at_open);
        Kernel.short_read_drains(fd)
    }

    fn is_unix_stream(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        Kernel.is_unix_stream(fd)
    }

    fn recv_noting_scm_rights(
        &self,
        fd: BorrowedFd<'_>,
        buffer: &mut [u8],
        flags: RecvFlags,
    ) -> Result<(usize, bool), Errno> {
        self.receives.fetch_add(1, Ordering::SeqCst);
        Kernel.recv_noting_scm_rights(fd, buffer, flags)
    }

    fn send(&self, fd: BorrowedFd<'_>, bytes: &[u8], flags: SendFlags) -> Result<usize, Errno> {
        self.sent(if self.no_room { Err(Errno::AGAIN) } else { Kernel.send(fd, bytes, flags) })
    }

    fn sendmsg(&self, fd: BorrowedFd<'_>, buffers: &[IoSlice<'_>], flags: SendFlags) -> Result<usize, Errno> {
        self.sent(if self.no_room { Err(Errno::AGAIN) } else { Kernel.sendmsg(fd, buffers, flags) })
    }

    fn recv(&self, fd: BorrowedFd<'_>, buffer: &mut [u8], flags: RecvFlags) -> Result<usize, Errno> {
        self.receives.fetch_add(1, Ordering::SeqCst);
        Kernel.recv(fd, buffer, flags)
    }

    fn recvmsg(&self, fd: BorrowedFd<'_>, buffers: &mut [IoSliceMut<'_>], flags: RecvFlags) -> Result<usize, Errno> {
        self.receives.fetch_add(1, Ordering::SeqCst);
        Kernel.recvmsg(fd, buffers, flags)
    }

    fn receive_error_message(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        let received = Kernel.receive_error_message(fd);
        if received.is_err() {
            wait_at(&self.after_error_queue);
        }
        received
    }

    fn take_error(&self, fd: BorrowedFd<'_>) -> Result<Option<Errno>, Errno> {
        Kernel.take_error(fd)
    }

    fn is_broken(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        Kernel.is_broken(fd)
    }

    fn close(&self, fd: OwnedFd) {
        Kernel.close(fd);
    }
}
