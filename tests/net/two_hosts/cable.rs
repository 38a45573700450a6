//! A cable that loses, delays, reorders and doubles frames, and that can be cut.
//!
//! Its ends are two tap devices. A thread carries the Ethernet frames between them, so the kernel's TCP is the real one.
//! It is used in place of netem, which many kernels are built without. A tap computes every checksum and has no segmentation
//! offload, so each frame is what a wire would carry.
#![allow(unsafe_code, reason = "an ioctl makes a tap device")]

use fastrand::Rng;
use nix::errno::Errno;
use nix::libc;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use rustix::time::Timespec;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What happens to the frames of both directions. The default is a cable that only carries them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weather {
    /// The share of frames that are lost, in percent.
    pub(super) lost: f64,
    /// The share of frames that arrive twice, in percent.
    pub(super) doubled: f64,
    /// The share of frames that take [`LATE`] longer, so that later ones overtake them, in percent.
    pub(super) late: f64,
    /// How long every frame takes.
    pub(super) delay: Duration,
    /// How many bytes a second the cable carries in each direction. 0 is as many as come.
    pub(super) rate: u32,
}

/// How much longer a late frame takes.
const LATE: Duration = Duration::from_millis(7);

/// A direction, as our host sees it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// From our host to the other.
    There,
    /// From the other host to ours.
    Back,
}

/// What a direction of the cable has done.
#[derive(Debug, Default)]
struct Counts {
    cut: AtomicBool,
    /// Frames that the cut took.
    swallowed: AtomicU64,
    carried: AtomicU64,
    lost: AtomicU64,
    doubled: AtomicU64,
    late: AtomicU64,
}

/// The cable. Dropping it ends its thread and the devices.
#[derive(Debug)]
pub(super) struct Cable {
    ways: Arc<[Counts; 2]>,
    /// The thread ends when the other end of this is closed.
    alive: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

/// Makes a tap device of this name in the calling thread's network namespace.
pub(super) fn tap(name: &str) -> File {
    let device = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
    let device = device.expect("/dev/net/tun (needs root)");
    let flags = libc::c_short::try_from(libc::IFF_TAP | libc::IFF_NO_PI).expect("both are small");
    let ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_flags: flags };
    let mut request = libc::ifreq { ifr_name: [0; libc::IFNAMSIZ], ifr_ifru };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::try_from(from).expect("ASCII");
    }
    // SAFETY: the kernel reads and writes one `ifreq`, which lives until the call returns.
    let made = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    Errno::result(made).expect("a tap device (needs root)");
    device
}

/// The seed of the weather. It decides what happens to which frame, but the kernel decides which frame comes when.
fn seed() -> u64 {
    std::env::var("TWO_HOSTS_SEED").map_or(1, |seed| seed.parse().expect("TWO_HOSTS_SEED is a number"))
}

impl Cable {
    /// Carries frames between the two devices.
    pub(super) fn between(ours: File, theirs: File, weather: Weather) -> Self {
        let ways = Arc::new([Counts::default(), Counts::default()]);
        let (alive, ended) = UnixStream::pair().expect("a pair");
        let counts = Arc::clone(&ways);
        let thread = std::thread::spawn(move || carry(&[ours, theirs], &counts, weather, &ended));
        Self { ways, alive: Some(alive), thread: Some(thread) }
    }

    /// From now on nothing arrives in this direction, not even what is on its way.
    pub(super) fn cut(&self, way: Way) {
        self.ways[way as usize].cut.store(true, Ordering::SeqCst);
    }

    /// Ends the cut.
    pub(super) fn mend(&self, way: Way) {
        self.ways[way as usize].cut.store(false, Ordering::SeqCst);
    }

    /// How many frames the cuts have taken.
    pub(super) fn swallowed(&self, way: Way) -> u64 {
        self.ways[way as usize].swallowed.load(Ordering::SeqCst)
    }

    /// Fails unless the cable was as bad as this weather says in both directions.
    pub(super) fn assert_was(&self, weather: Weather) {
        for (way, counts) in self.ways.iter().enumerate() {
            let of = |count: &AtomicU64| count.load(Ordering::SeqCst);
            let kinds =
                [(weather.lost, &counts.lost), (weather.doubled, &counts.doubled), (weather.late, &counts.late)];
            assert!(
                of(&counts.carried) > 0 && kinds.iter().all(|(share, count)| *share == 0.0 || of(count) > 0),
                "{way}: {self:?}"
            );
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        drop(self.alive.take());
        let carried = self.thread.take().is_none_or(|thread| thread.join().is_ok());
        assert!(carried || std::thread::panicking(), "the cable's thread panicked");
    }
}

/// A frame on its way, the earliest first. The number keeps the order of those that are due at the same time.
type Frame = Reverse<(Instant, u64, Vec<u8>)>;

/// One direction of the cable.
struct Lane<'a> {
    from: &'a File,
    to: &'a File,
    counts: &'a Counts,
    weather: Weather,
    random: Rng,
    on_its_way: BinaryHeap<Frame>,
    entered: u64,
    /// When the last frame has left its sender.
    sent: Instant,
}

impl Lane<'_> {
    fn happens(&mut self, percent: f64, count: &AtomicU64) -> bool {
        let happens = self.random.f64() * 100.0 < percent;
        count.fetch_add(u64::from(happens), Ordering::SeqCst);
        happens
    }

    /// Takes the frames that the sender has ready.
    fn take(&mut self) {
        // A frame of a device whose MTU is 1,500 has 1,518 bytes at most.
        let mut bytes = [0; 2048];
        loop {
            let mut from = self.from;
            match from.read(&mut bytes) {
                Ok(length) => self.enter(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("reading from a tap device: {error}"),
            }
        }
    }

    /// Decides what happens to a frame.
    fn enter(&mut self, frame: &[u8]) {
        let (counts, weather) = (self.counts, self.weather);
        if self.happens(weather.lost, &counts.lost) {
            return;
        }
        let takes = if weather.rate == 0 { 0.0 } else { frame.len() as f64 / f64::from(weather.rate) };
        self.sent = self.sent.max(Instant::now()) + Duration::from_secs_f64(takes);
        let twice = self.happens(weather.doubled, &counts.doubled);
        for _ in 0..=usize::from(twice) {
            let late = if self.happens(weather.late, &counts.late) { LATE } else { Duration::ZERO };
            self.entered += 1;
            self.on_its_way.push(Reverse((self.sent + weather.delay + late, self.entered, frame.to_vec())));
        }
    }

    /// Delivers what is due. Returns when the next frame is.
    fn deliver(&mut self) -> Option<Instant> {
        while let Some(Reverse((due, ..))) = self.on_its_way.peek() {
            if *due > Instant::now() {
                return Some(*due);
            }
            let Some(Reverse((.., frame))) = self.on_its_way.pop() else { unreachable!("it was there") };
            let counts = self.counts;
            if counts.cut.load(Ordering::SeqCst) {
                counts.swallowed.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            let mut to = self.to;
            // A device that is not up yet loses the frame.
            if to.write(&frame).is_ok() {
                counts.carried.fetch_add(1, Ordering::SeqCst);
            }
        }
        None
    }
}

/// Carries frames until the other end of `ended` is closed.
fn carry(ends: &[File; 2], counts: &[Counts; 2], weather: Weather, ended: &UnixStream) {
    let mut lanes = [Way::There, Way::Back].map(|way| Lane {
        from: &ends[way as usize],
        to: &ends[1 - way as usize],
        counts: &counts[way as usize],
        weather,
        random: Rng::with_seed(seed() * 2 + way as u64),
        on_its_way: BinaryHeap::new(),
        entered: 0,
        sent: Instant::now(),
    });
    loop {
        let due = lanes.iter_mut().filter_map(Lane::deliver).min();
        let wait = due.map(|due| due.saturating_duration_since(Instant::now()));
        let wait = wait.map(|wait| Timespec::try_from(wait).expect("less than a minute"));
        let mut ready = [
            PollFd::new(&ends[0], PollFlags::IN),
            PollFd::new(&ends[1], PollFlags::IN),
            PollFd::new(ended, PollFlags::IN),
        ];
        retry_on_intr(|| poll(&mut ready, wait.as_ref())).expect("poll");
        let [ours, theirs, end] = ready.map(|it| !it.revents().is_empty());
        if end {
            return;
        }
        for (lane, ready) in lanes.iter_mut().zip([ours, theirs]) {
            if ready {
                lane.take();
            }
        }
    }
}
