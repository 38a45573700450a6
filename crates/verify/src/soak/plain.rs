//! Clients on plain blocking sockets. They do half-closes and slow reads, which the library's sockets cannot do.

use super::samples::Counters;
use integration_tests::wire::{PatternChecker, pattern};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The number of threads of each kind.
const OF_EACH: usize = 2;

pub(super) fn start(addresses: &[SocketAddr], stop: &Arc<AtomicBool>, counters: &Arc<Counters>) -> Vec<JoinHandle<()>> {
    let worker = |number: usize| {
        let (address, stop, counters) = (addresses[number % addresses.len()], Arc::clone(stop), Arc::clone(counters));
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let outcome = if number.is_multiple_of(2) {
                    half_close(address, &counters)
                } else {
                    read_slowly(address, &counters)
                };
                if outcome.is_err() && !stop.load(Ordering::Relaxed) {
                    counters.wrong.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    };
    (0..2 * OF_EACH).map(worker).collect()
}

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(integration_tests::LIMIT))?;
    stream.set_write_timeout(Some(integration_tests::LIMIT))?;
    Ok(stream)
}

/// Sends, shuts its sending side down, and still gets the whole echo.
fn half_close(address: SocketAddr, counters: &Counters) -> std::io::Result<()> {
    let mut stream = connect(address)?;
    stream.write_all(&pattern(0, 10_000))?;
    stream.shutdown(Shutdown::Write)?;
    let mut echo = Vec::new();
    // The server drops the connection when it has read the end. The whole echo must arrive before that.
    stream.read_to_end(&mut echo)?;
    if echo != pattern(0, 10_000) {
        counters.wrong.fetch_add(1, Ordering::Relaxed);
    }
    counters.half_closes.fetch_add(1, Ordering::Relaxed);
    thread::sleep(Duration::from_millis(20));
    Ok(())
}

/// Sends a lot of data from another thread, and reads small pieces with pauses.
fn read_slowly(address: SocketAddr, counters: &Counters) -> std::io::Result<()> {
    const LENGTH: usize = 300_000;
    let mut stream = connect(address)?;
    let mut writer = stream.try_clone()?;
    let writing = thread::spawn(move || writer.write_all(&pattern(0, LENGTH)));
    let mut checker = PatternChecker::default();
    let mut piece = [0; 4_096];
    while checker.position() < LENGTH {
        let read = stream.read(&mut piece)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        checker.check(&piece[..read]);
        thread::sleep(Duration::from_millis(2));
    }
    counters.slow_readers.fetch_add(1, Ordering::Relaxed);
    writing.join().map_err(|_| std::io::ErrorKind::Other)?
}
