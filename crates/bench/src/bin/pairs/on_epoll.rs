//! Both ends of every pair on one bare edge-triggered epoll. `believing` takes every short read as the end of the
//! data, as the peers do. `heeding_descriptors` does so only if no descriptors came along, as we do.

use crate::{Arguments, Trips};
use anyhow::Result;
use bench::pattern::Pattern;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendFlags, recv, recvmsg, send};
use std::io::IoSliceMut;
use std::os::unix::net::UnixStream;
use std::thread;

type Read = fn(&UnixStream, &mut [u8]) -> rustix::io::Result<usize>;

/// Takes a short read as the end of the data. If more data remains, the stream gets stuck.
pub(crate) fn believing(stream: &UnixStream, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    recv(stream, buffer, RecvFlags::empty()).map(|(bytes, _)| bytes)
}

/// The cheapest check for passed descriptors. None are passed here, so a read that would need a repeat is an error.
pub(crate) fn heeding_descriptors(stream: &UnixStream, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    let mut nothing = RecvAncillaryBuffer::default();
    let message = recvmsg(stream, &mut [IoSliceMut::new(buffer)], &mut nothing, RecvFlags::empty())?;
    assert!(!message.flags.contains(ReturnFlags::CTRUNC), "descriptors came along");
    Ok(message.bytes)
}

/// The even ends send first, and the odd ends send back.
pub(crate) fn start(arguments: &Arguments, trips: &'static [Trips], read: Read) -> Result<()> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let pattern = Pattern::new(arguments.size);
    let message = pattern.from(0, arguments.size).to_vec();
    let mut ends = Vec::new();
    for _ in 0..arguments.pairs {
        let (one, two) = UnixStream::pair()?;
        for end in [one, two] {
            end.set_nonblocking(true)?;
            let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            epoll::add(&epoll, &end, EventData::new_u64(ends.len() as u64), interest)?;
            ends.push((end, vec![0; 64 * 1024].into_boxed_slice(), 0));
        }
        send(&ends[ends.len() - 2].0, &message, SendFlags::NOSIGNAL)?;
    }
    thread::spawn(move || {
        let mut events: Vec<Event> = Vec::with_capacity(512);
        loop {
            events.clear();
            if epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None).is_err() {
                continue;
            }
            for event in &events {
                #[allow(clippy::cast_possible_truncation, reason = "we made it of a usize")]
                let index = event.data.u64() as usize;
                let (stream, buffer, filled) = &mut ends[index];
                let Ok(received) = read(stream, &mut buffer[*filled..]) else { continue };
                *filled += received;
                if *filled < message.len() {
                    continue;
                }
                assert!(buffer[..*filled] == message, "wrong bytes came");
                *filled = 0;
                if index.is_multiple_of(2) {
                    trips[index / 2].count();
                }
                let sent = send(&*stream, &message, SendFlags::NOSIGNAL);
                assert!(sent == Ok(message.len()), "one message has room");
            }
        }
    });
    Ok(())
}
