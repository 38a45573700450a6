//! The system calls of listeners and connects, which are faulty too.

use async_socket_net::sys::{Credentials, Errno, Kernel, ListenerKind, NetSyscalls};
use async_socket_net::{Address, Family, SocketOption};
use socket2::SockRef;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;
use test_doubles::{Fault, FaultySyscalls, with_memory};

/// The kernel's answers to a connect that fails.
const REFUSED: [Errno; 4] = [Errno::CONNREFUSED, Errno::TIMEDOUT, Errno::NETUNREACH, Errno::HOSTUNREACH];

/// Faulty system calls. They get the memory that they need even on a thread without memory.
#[derive(Debug, Clone)]
pub(super) struct NetSys(FaultySyscalls);

impl NetSys {
    pub(super) fn new(faulty: FaultySyscalls) -> Self {
        Self(faulty)
    }

    fn before_making_a_descriptor(&self) -> Result<(), Errno> {
        self.fail(Fault::NoDescriptors, &[Errno::MFILE, Errno::NFILE])?;
        self.fail(Fault::NoMemory, &[Errno::NOMEM, Errno::NOBUFS])
    }

    fn fail(&self, fault: Fault, errnos: &[Errno]) -> Result<(), Errno> {
        if self.0.happens(fault) { Err(self.0.one_of(errnos)) } else { Ok(()) }
    }
}

impl NetSyscalls for NetSys {
    fn listener_kind(&self, fd: BorrowedFd<'_>) -> Result<ListenerKind, Errno> {
        Kernel.listener_kind(fd)
    }

    fn set_nonblocking(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        Kernel.set_nonblocking(fd)
    }

    fn accept(&self, fd: BorrowedFd<'_>) -> Result<(OwnedFd, Address), Errno> {
        with_memory(|| {
            self.0.interrupt()?;
            self.0.again(fd)?;
            self.before_making_a_descriptor()?;
            let (descriptor, peer) = Kernel.accept(fd)?;
            if self.0.happens(Fault::Aborted) {
                // A client that the kernel reports as gone is gone.
                let _ = SockRef::from(&descriptor).set_linger(Some(Duration::ZERO));
                return Err(self.0.one_of(&[Errno::CONNABORTED, Errno::PROTO]));
            }
            Ok((descriptor, peer))
        })
    }

    fn socket(&self, family: Family) -> Result<OwnedFd, Errno> {
        self.before_making_a_descriptor()?;
        Kernel.socket(family)
    }

    fn bind(&self, fd: BorrowedFd<'_>, address: &Address) -> Result<(), Errno> {
        Kernel.bind(fd, address)
    }

    fn listen(&self, fd: BorrowedFd<'_>, backlog: i32) -> Result<(), Errno> {
        Kernel.listen(fd, backlog)
    }

    fn connect(&self, fd: BorrowedFd<'_>, address: &Address) -> Result<(), Errno> {
        self.fail(Fault::Refused, &REFUSED)?;
        let connected = Kernel.connect(fd, address);
        // A connect that a signal interrupts goes on.
        if matches!(connected, Ok(()) | Err(Errno::INPROGRESS)) {
            self.0.interrupt()?;
        }
        connected
    }

    fn connect_again(&self, fd: BorrowedFd<'_>, address: &Address) -> Result<(), Errno> {
        // The answer is not there yet.
        self.fail(Fault::Late, &[Errno::ALREADY])?;
        Kernel.connect_again(fd, address)
    }

    fn take_error(&self, fd: BorrowedFd<'_>) -> Result<Option<Errno>, Errno> {
        self.0.interrupt()?;
        if let Err(errno) = self.fail(Fault::Refused, &REFUSED) {
            return Ok(Some(errno));
        }
        Kernel.take_error(fd)
    }

    fn set_option(&self, fd: BorrowedFd<'_>, option: SocketOption) -> Result<(), Errno> {
        self.fail(Fault::NoBuffers, &[Errno::NOBUFS])?;
        Kernel.set_option(fd, option)
    }

    fn local_address(&self, fd: BorrowedFd<'_>) -> Result<Address, Errno> {
        Kernel.local_address(fd)
    }

    fn peer_credentials(&self, fd: BorrowedFd<'_>) -> Result<Credentials, Errno> {
        Kernel.peer_credentials(fd)
    }

    fn close(&self, fd: OwnedFd) {
        // A closed descriptor has no edges to come.
        debug_assert!(rustix::io::fcntl_getfd(fd.as_fd()).is_ok(), "closed twice");
        Kernel.close(fd);
    }
}
