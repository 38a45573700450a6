//! Connected pairs: a descriptor for us, and a plain std stream as the independent peer.

use crate::LIMIT;
use socket2::SockRef;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::LazyLock;

/// What a pair is connected by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP over 127.0.0.1
    TcpV4,
    /// TCP over `::1`; where there is no IPv6, over 127.0.0.1.
    TcpV6,
    /// A Unix stream socket
    Unix,
}

/// The other end of a connection: blocking, with time-outs.
#[derive(Debug)]
pub enum Peer {
    /// of a TCP connection
    Tcp(TcpStream),
    /// of a Unix one
    Unix(UnixStream),
}

impl Transport {
    /// A connected pair: our non-blocking descriptor and the peer.
    #[must_use]
    pub fn pair(self) -> (OwnedFd, Peer) {
        match self {
            Self::TcpV4 => tcp_pair("127.0.0.1:0"),
            Self::TcpV6 => tcp_pair(if has_ipv6() { "[::1]:0" } else { "127.0.0.1:0" }),
            Self::Unix => {
                let (ours, theirs) = UnixStream::pair().expect("a Unix pair");
                ours.set_nonblocking(true).expect("O_NONBLOCK");
                (ours.into(), Peer::Unix(theirs).with_timeouts())
            }
        }
    }

    /// A pair with small kernel buffers, so that a few hundred kilobytes block the sender.
    #[must_use]
    pub fn narrow_pair(self) -> (OwnedFd, Peer) {
        let (ours, peer) = self.pair();
        SockRef::from(&ours).set_send_buffer_size(16 * 1024).expect("SO_SNDBUF");
        SockRef::from(&peer).set_recv_buffer_size(16 * 1024).expect("SO_RCVBUF");
        (ours, peer)
    }
}

fn has_ipv6() -> bool {
    static HAS: LazyLock<bool> = LazyLock::new(|| TcpListener::bind("[::1]:0").is_ok());
    *HAS
}

fn tcp_pair(address: &str) -> (OwnedFd, Peer) {
    let listener = TcpListener::bind(address).expect("a listener on loopback");
    let theirs = TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
    let (ours, _) = listener.accept().expect("the connection");
    ours.set_nodelay(true).expect("TCP_NODELAY");
    theirs.set_nodelay(true).expect("TCP_NODELAY");
    ours.set_nonblocking(true).expect("O_NONBLOCK");
    (ours.into(), Peer::Tcp(theirs).with_timeouts())
}

impl Peer {
    fn with_timeouts(self) -> Self {
        let socket = SockRef::from(&self);
        socket.set_read_timeout(Some(LIMIT)).expect("SO_RCVTIMEO");
        socket.set_write_timeout(Some(LIMIT)).expect("SO_SNDTIMEO");
        self
    }

    /// Another handle to the same end, for a second thread.
    #[must_use]
    pub fn try_clone(&self) -> Self {
        match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone().expect("a duplicate")),
            Self::Unix(stream) => Self::Unix(stream.try_clone().expect("a duplicate")),
        }
    }

    /// Ends one or both directions.
    pub fn shutdown(&self, how: Shutdown) {
        SockRef::from(self).shutdown(how).expect("shutdown");
    }

    /// Says that it will send no more.
    pub fn finish(&self) {
        self.shutdown(Shutdown::Write);
    }

    /// Ends the connection with a RST. Only for TCP.
    pub fn reset(self) {
        SockRef::from(&self).set_linger(Some(std::time::Duration::ZERO)).expect("SO_LINGER");
    }

    /// Reads exactly `length` bytes.
    #[must_use]
    pub fn read_bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.read_exact(&mut bytes).expect("the peer reads");
        bytes
    }

    /// Reads until the end of the stream.
    #[must_use]
    pub fn read_rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).expect("the peer reads to the end");
        bytes
    }

    /// Reads `length` bytes and checks that they are the [`pattern`].
    pub fn read_pattern(&mut self, length: usize) {
        let mut checker = PatternChecker::default();
        let mut chunk = vec![0; 256 * 1024];
        while checker.position() < length {
            let wanted = (length - checker.position()).min(chunk.len());
            let read = self.read(&mut chunk[..wanted]).expect("the peer reads");
            assert_ne!(read, 0, "the stream ended after {} of {length} bytes", checker.position());
            checker.check(&chunk[..read]);
        }
    }
}

impl Read for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Peer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

/// The pattern's period: a prime, so that it never lines up with a buffer.
const PERIOD: usize = 65_521;

/// One mebibyte more than a period.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 1_u32;
    let period: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(PERIOD)
    .collect();
    period.into_iter().cycle().take(PERIOD + (1 << 20)).collect()
});

/// `length` bytes of the pattern from `start` on. Every test sends these, so that it notices a byte that is lost,
/// doubled or out of place.
#[must_use]
pub fn pattern(start: usize, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let from = (start + bytes.len()) % PERIOD;
        let piece = (length - bytes.len()).min(PATTERN.len() - from);
        bytes.extend_from_slice(&PATTERN[from..from + piece]);
    }
    bytes
}

/// Checks that bytes that arrive piece by piece are the [`pattern`].
#[derive(Debug, Default)]
pub struct PatternChecker {
    position: usize,
}

impl PatternChecker {
    /// How many bytes were checked.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Checks the next bytes. Not for use in a callback, because the library catches a callback's panic.
    pub fn check(&mut self, bytes: &[u8]) {
        assert!(self.accepts(bytes), "wrong bytes after {}", self.position);
    }

    /// Whether the next bytes are right.
    #[must_use]
    pub fn accepts(&mut self, bytes: &[u8]) -> bool {
        bytes.chunks(1 << 20).all(|piece| {
            let from = self.position % PERIOD;
            let right = piece == &PATTERN[from..from + piece.len()];
            self.position += if right { piece.len() } else { 0 };
            right
        })
    }
}
