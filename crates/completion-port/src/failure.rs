//! Waking the port's thread, and the failure of a port whose epoll instance or eventfd other code has closed.
//!
//! A wake-up writes nothing. `EPOLL_CTL_MOD` on the eventfd, which is always writable, causes an event. The call fails if
//! another file is behind one of the two numbers. Then the port has *failed*: the thread ends every waiting operation with
//! an error, and goes on without the kernel to drop the remaining sources.

use crate::callback::{log_caught, run_caught};
use crate::shared::{PortFlags, Shared, WAKE};
use crate::sync::thread;
use crate::sys::{EpollOp, Errno, PAUSE_AFTER_FAILURE, PortSyscalls, WAKE_UP, retry_interrupted};
use crate::table::Table;
use std::os::fd::AsFd;
use std::time::Duration;

impl<S: PortSyscalls> Shared<S> {
    #[cold]
    #[inline(never)]
    pub(crate) fn wait_failed(&self, error: Errno) {
        // Codes_SRS_COMPLETION_PORT_01_091
        self.look_into(error);
        // Codes_SRS_COMPLETION_PORT_01_063
        if !self.has_failed() {
            log_caught(|| tracing::error!(%error, "epoll_wait failed"));
            thread::sleep(PAUSE_AFTER_FAILURE);
        }
    }

    /// Wakes the thread. `before` holds its flags before the change that it is woken for. False if the thread cannot be
    /// woken. It then wakes by itself within a second.
    // Codes_SRS_COMPLETION_PORT_01_092
    pub(crate) fn wake(&self, before: PortFlags) -> bool {
        if before.contains(PortFlags::DETACHED) {
            // The thread looks at the flags under this lock before it waits.
            drop(self.pending.lock());
            self.notified.notify_all();
            return true;
        }
        match retry_interrupted(|| self.sys.wake(self.epoll.as_fd(), self.eventfd.as_fd(), WAKE.0)) {
            Ok(()) => true,
            // Codes_SRS_COMPLETION_PORT_01_094
            Err(error) => {
                log_caught(|| tracing::error!(%error, "the port could not be woken"));
                self.note_failure_unless_intact()
            }
        }
    }

    /// Wakes the thread because the last reference is gone.
    pub(crate) fn wake_for_the_end(&self, before: PortFlags) -> bool {
        #[cfg(loom)]
        if crate::sync::injected_bug("the last reference wakes nobody") {
            return true;
        }
        self.wake(before)
    }

    /// Whether the two numbers still belong to the port's own files. Only its own epoll instance knows its own eventfd.
    pub(crate) fn is_intact(&self) -> bool {
        let op = EpollOp::Modify { data: WAKE.0, flags: WAKE_UP };
        let modified = || self.sys.epoll_ctl(self.epoll.as_fd(), self.eventfd.as_fd(), op);
        !matches!(retry_interrupted(modified), Err(Errno::BADF | Errno::INVAL | Errno::NOENT | Errno::PERM))
    }

    /// Finds out whether a call failed because the port's own descriptors are gone.
    #[cold]
    pub(crate) fn look_into(&self, error: Errno) {
        if matches!(error, Errno::BADF | Errno::INVAL | Errno::NOENT | Errno::PERM) {
            self.note_failure_unless_intact();
        }
    }

    /// Returns whether the port is intact.
    #[cold]
    pub(crate) fn note_failure_unless_intact(&self) -> bool {
        let intact = self.is_intact();
        if !intact && !self.set_flags(PortFlags::FAILED).contains(PortFlags::FAILED) {
            log_caught(|| {
                tracing::error!("other code has closed the port's epoll instance or eventfd: the port has failed");
            });
        }
        intact
    }

    /// Waits without the kernel's objects, which are gone.
    pub(crate) fn wait_detached(&self, table: &mut Table, first: bool, at_most: Duration) {
        if first {
            self.set_flags(PortFlags::DETACHED);
            // Codes_SRS_COMPLETION_PORT_01_091
            self.fail_sources(table);
            return table.begin_round();
        }
        let mut pending = self.pending.lock();
        if !at_most.is_zero() && !self.flags().intersects(PortFlags::PENDING | PortFlags::STOPPING) {
            // Codes_SRS_COMPLETION_PORT_01_091
            self.notified.wait_at_most(&mut pending, at_most);
        }
    }

    /// Makes every source end its waiting operations.
    #[cold]
    pub(crate) fn fail_sources(&self, table: &mut Table) {
        for index in 0..table.len() {
            if let Some(source) = table.source(index) {
                run_caught("failure", || source.on_port_failure());
                table.enqueue(index);
            }
        }
    }
}
