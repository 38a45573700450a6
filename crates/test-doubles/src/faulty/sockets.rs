//! The faulty system calls of a socket.

use super::{Fault, FaultySyscalls};
use crate::no_memory::with_memory;
use async_socket_linux::sys::{Errno, RecvFlags, SendFlags};
use async_socket_linux::{Kernel, SocketSyscalls, UnsupportedKind};
use rustix::net::Shutdown;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{BorrowedFd, OwnedFd};

impl SocketSyscalls for FaultySyscalls {
    fn unsupported_kind(&self, fd: BorrowedFd<'_>) -> Result<Option<UnsupportedKind>, Errno> {
        Kernel.unsupported_kind(fd)
    }

    fn is_connecting(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        Kernel.is_connecting(fd)
    }

    fn lingers(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        Kernel.lingers(fd)
    }

    fn stop_lingering(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        Kernel.stop_lingering(fd)
    }

    fn short_read_drains(&self, _: BorrowedFd<'_>) -> Result<bool, Errno> {
        self.interrupt()?;
        // A short read does not drain, because reads are short at random here.
        Ok(false)
    }

    fn send(&self, fd: BorrowedFd<'_>, bytes: &[u8], flags: SendFlags) -> Result<usize, Errno> {
        with_memory(|| {
            self.before_send(fd)?;
            Kernel.send(fd, &bytes[..self.limit(bytes.len())], flags)
        })
    }

    fn sendmsg(&self, fd: BorrowedFd<'_>, buffers: &[IoSlice<'_>], flags: SendFlags) -> Result<usize, Errno> {
        with_memory(|| {
            self.before_send(fd)?;
            let mut room = self.limit(buffers.iter().map(|buffer| buffer.len()).sum());
            let mut cut = Vec::new();
            for buffer in buffers {
                let length = buffer.len().min(room);
                room -= length;
                if length > 0 {
                    cut.push(IoSlice::new(&buffer[..length]));
                }
            }
            Kernel.sendmsg(fd, &cut, flags)
        })
    }

    fn recv(&self, fd: BorrowedFd<'_>, buffer: &mut [u8], flags: RecvFlags) -> Result<usize, Errno> {
        with_memory(|| {
            self.before_transfer(fd)?;
            let limit = self.limit(buffer.len());
            self.after_receive(fd, Kernel.recv(fd, &mut buffer[..limit], flags))
        })
    }

    fn recvmsg(&self, fd: BorrowedFd<'_>, buffers: &mut [IoSliceMut<'_>], flags: RecvFlags) -> Result<usize, Errno> {
        with_memory(|| {
            self.before_transfer(fd)?;
            let mut room = self.limit(buffers.iter().map(|buffer| buffer.len()).sum());
            let mut cut = Vec::new();
            for buffer in buffers.iter_mut() {
                let length = buffer.len().min(room);
                room -= length;
                if length > 0 {
                    cut.push(IoSliceMut::new(&mut buffer[..length]));
                }
            }
            self.after_receive(fd, Kernel.recvmsg(fd, &mut cut, flags))
        })
    }

    fn receive_error_message(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.interrupt()?;
        Kernel.receive_error_message(fd)
    }

    fn take_error(&self, fd: BorrowedFd<'_>) -> Result<Option<Errno>, Errno> {
        self.interrupt()?;
        Kernel.take_error(fd)
    }

    fn is_broken(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        self.interrupt()?;
        self.fail(Fault::NoMemory, Errno::NOMEM)?;
        Kernel.is_broken(fd)
    }

    fn shut_down_sending(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.interrupt()?;
        self.may_break_connection(fd)?;
        Kernel.shut_down_sending(fd)
    }

    fn close(&self, fd: OwnedFd) {
        Kernel.close(fd);
    }
}

impl FaultySyscalls {
    /// Injects the errors of a transfer that leave the connection as it is.
    fn before_transfer(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.interrupt()?;
        self.fail(Fault::NoMemory, Errno::NOMEM)?;
        self.again(fd)
    }

    fn before_send(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.before_transfer(fd)?;
        self.fail(Fault::NoBuffers, Errno::NOBUFS)?;
        self.break_connection(fd, Fault::Pipe, Errno::PIPE)?;
        self.may_break_connection(fd)
    }

    /// Ends the connection after some receives that found nothing.
    fn after_receive(&self, fd: BorrowedFd<'_>, received: Result<usize, Errno>) -> Result<usize, Errno> {
        if received == Err(Errno::AGAIN) {
            self.may_break_connection(fd)?;
        }
        received
    }

    fn may_break_connection(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.break_connection(fd, Fault::Reset, Errno::CONNRESET)?;
        self.break_connection(fd, Fault::Lost, self.one_of(&Fault::LOST))
    }

    fn break_connection(&self, fd: BorrowedFd<'_>, fault: Fault, errno: Errno) -> Result<(), Errno> {
        self.fail(fault, errno).inspect_err(|_| {
            // The connection may have ended already.
            let _ = rustix::net::shutdown(fd, Shutdown::Both);
        })
    }

    /// The number of bytes, out of `length`, that a transfer may move: at least one.
    fn limit(&self, length: usize) -> usize {
        if length > 1 && self.happens(Fault::Short) { self.state.random.lock().usize(1..length) } else { length }
    }
}
