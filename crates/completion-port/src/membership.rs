//! The descriptor numbers in use in an epoll instance, and their users.
//!
//! An entry of an epoll instance lives as long as the open file, not as long as the number. If the caller closes a number
//! while a duplicate of the descriptor is open, the entry stays. `EPOLL_CTL_ADD` then fails with `EEXIST` when the file
//! comes back under that number. The kernel does not say whether such an entry is still used; this table does.
//!
//! Invariant: every `epoll_ctl` for a number is made with the table locked. Otherwise the number could change hands between
//! the look at the table and the `epoll_ctl`, which would then hit the new owner's entry.

use crate::source::Token;
use crate::sys::{EpollOp, Errno, EventFlags, PortSyscalls, retry_interrupted};
use std::collections::HashMap;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// The most lent descriptors that the empty table keeps room for.
const ROOM_KEPT: usize = 64;

/// The epoll instance that a table describes.
pub(crate) struct Epoll<'a, S> {
    pub(crate) sys: &'a S,
    pub(crate) instance: BorrowedFd<'a>,
}

#[derive(Default)]
pub(crate) struct Membership {
    /// One bit for each number that a registration owns, because there can be very many.
    owned: Vec<u64>,
    /// The numbers of lent descriptors, each with the token of its latest watch.
    lent: HashMap<RawFd, Token>,
}

impl Membership {
    /// Adds a descriptor that a registration owns.
    pub(crate) fn add_owned<S: PortSyscalls>(
        &mut self,
        epoll: &Epoll<'_, S>,
        descriptor: BorrowedFd<'_>,
        token: Token,
        flags: EventFlags,
    ) -> Result<(), Errno> {
        let number = descriptor.as_raw_fd();
        self.reserve_bit(number)?;
        self.add(epoll, descriptor, token, flags)?;
        self.set_owned(number, true);
        // Hashing the number takes longer than all else here, and most programs lend none.
        if !self.lent.is_empty() {
            self.lent.remove(&number);
        }
        Ok(())
    }

    /// Removes a descriptor that a registration owns, unless its number belongs to another descriptor by now.
    pub(crate) fn delete_owned<S: PortSyscalls>(
        &mut self,
        epoll: &Epoll<'_, S>,
        descriptor: BorrowedFd<'_>,
    ) -> Result<(), Errno> {
        if !self.is_owned(descriptor.as_raw_fd()) {
            return Ok(());
        }
        self.set_owned(descriptor.as_raw_fd(), false);
        epoll.delete(descriptor)
    }

    /// Adds a descriptor that stays the caller's.
    // Codes_SRS_COMPLETION_PORT_01_122, Codes_SRS_COMPLETION_PORT_01_123
    pub(crate) fn add_lent<S: PortSyscalls>(
        &mut self,
        epoll: &Epoll<'_, S>,
        descriptor: BorrowedFd<'_>,
        token: Token,
        flags: EventFlags,
    ) -> Result<(), Errno> {
        let number = descriptor.as_raw_fd();
        self.lent.try_reserve(1).map_err(|_| Errno::NOMEM)?;
        self.add(epoll, descriptor, token, flags)?;
        // If a registration owned the number, other code has closed its descriptor.
        self.set_owned(number, false);
        self.lent.insert(number, token);
        Ok(())
    }

    /// Changes the events that a lent descriptor is watched for. `ENOENT` if the number belongs to another descriptor by
    /// now.
    pub(crate) fn modify_lent<S: PortSyscalls>(
        &mut self,
        epoll: &Epoll<'_, S>,
        descriptor: BorrowedFd<'_>,
        token: Token,
        flags: EventFlags,
    ) -> Result<(), Errno> {
        if self.lent.get(&descriptor.as_raw_fd()) == Some(&token) {
            epoll.modify(descriptor, token, flags)
        } else {
            Err(Errno::NOENT)
        }
    }

    /// Removes a lent descriptor, unless its number belongs to another descriptor by now.
    pub(crate) fn delete_lent<S: PortSyscalls>(
        &mut self,
        epoll: &Epoll<'_, S>,
        descriptor: BorrowedFd<'_>,
        token: Token,
    ) -> Result<(), Errno> {
        if self.forget_lent(descriptor.as_raw_fd(), token) { epoll.delete(descriptor) } else { Ok(()) }
    }

    /// Notes that a watch of a number is over. Returns whether it was the latest.
    pub(crate) fn forget_lent(&mut self, number: RawFd, token: Token) -> bool {
        if self.lent.get(&number) != Some(&token) {
            return false;
        }
        self.lent.remove(&number);
        if self.lent.is_empty() && self.lent.capacity() > ROOM_KEPT {
            self.lent = HashMap::new();
        }
        true
    }

    /// Adds a descriptor, or takes over an entry that nothing uses any more.
    fn add<S: PortSyscalls>(
        &self,
        epoll: &Epoll<'_, S>,
        descriptor: BorrowedFd<'_>,
        token: Token,
        flags: EventFlags,
    ) -> Result<(), Errno> {
        let number = descriptor.as_raw_fd();
        match epoll.add(descriptor, token, flags) {
            Err(Errno::EXIST) if !self.is_owned(number) && !self.lent.contains_key(&number) => {
                epoll.modify(descriptor, token, flags)
            }
            added => added,
        }
    }

    fn is_owned(&self, number: RawFd) -> bool {
        let (word, bit) = place(number);
        self.owned.get(word).is_some_and(|word| word & bit != 0)
    }

    fn set_owned(&mut self, number: RawFd, owned: bool) {
        let (word, bit) = place(number);
        if let Some(word) = self.owned.get_mut(word) {
            *word = if owned { *word | bit } else { *word & !bit };
        }
    }

    fn reserve_bit(&mut self, number: RawFd) -> Result<(), Errno> {
        let words = place(number).0 + 1;
        if let Some(missing) = words.checked_sub(self.owned.len()) {
            self.owned.try_reserve(missing).map_err(|_| Errno::NOMEM)?;
            self.owned.resize(words, 0);
        }
        Ok(())
    }
}

impl<S: PortSyscalls> Epoll<'_, S> {
    fn add(&self, descriptor: BorrowedFd<'_>, token: Token, flags: EventFlags) -> Result<(), Errno> {
        self.ctl(descriptor, EpollOp::Add { data: token.0, flags })
    }

    fn modify(&self, descriptor: BorrowedFd<'_>, token: Token, flags: EventFlags) -> Result<(), Errno> {
        self.ctl(descriptor, EpollOp::Modify { data: token.0, flags })
    }

    fn delete(&self, descriptor: BorrowedFd<'_>) -> Result<(), Errno> {
        self.ctl(descriptor, EpollOp::Delete)
    }

    fn ctl(&self, descriptor: BorrowedFd<'_>, op: EpollOp) -> Result<(), Errno> {
        retry_interrupted(|| self.sys.epoll_ctl(self.instance, descriptor, op))
    }
}

/// The word and the bit of a descriptor's number, which is never negative.
fn place(number: RawFd) -> (usize, u64) {
    let number = usize::try_from(number).unwrap_or_default();
    (number / 64, 1 << (number % 64))
}
