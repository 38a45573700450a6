//! hyper as a server over the streams, and clients that know nothing of it: curl, wrk, h2load, and sockets that misbehave.

use anyhow::{Context as _, ensure};
use interop::http::HyperServer;
use interop::pattern::{Pattern, digest_of};
use interop::process::{curl, output, program};
use interop::{GIB, LIMIT, saw, seconds};
use socket2::SockRef;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

const PROTOCOLS: [(&str, &str); 2] = [("HTTP/1.1", "--http1.1"), ("HTTP/2", "--http2-prior-knowledge")];

fn connect(server: &HyperServer) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(server.address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The body of one response with a `content-length`.
fn response(reader: &mut impl std::io::BufRead) -> anyhow::Result<Vec<u8>> {
    let (mut length, mut line) = (0, String::new());
    reader.read_line(&mut line)?;
    ensure!(line.starts_with("HTTP/1.1 200"), "{line}");
    while line != "\r\n" {
        line.clear();
        ensure!(reader.read_line(&mut line)? > 0, "the connection ends inside a response");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(body)
}

fn how_it_ended(server: &HyperServer) -> anyhow::Result<Result<(), String>> {
    server.ended.recv_timeout(LIMIT).context("the server goes on with a connection that is over")
}

#[test]
fn curl_gets_what_is_there_and_hears_of_what_is_not() -> anyhow::Result<()> {
    let server = HyperServer::start()?;
    for (name, protocol) in PROTOCOLS {
        let found = output(curl().arg(protocol).args(["-w", " %{http_version}"]).arg(server.url("/hello")))?;
        assert_eq!(found, format!("Hello, World! {}", name.trim_start_matches("HTTP/")));
        let missing = output(program("curl").args(["-s", "-w", "%{http_code}", protocol]).arg(server.url("/missing")))?;
        assert_eq!(missing, "404");
        let posted = output(curl().args([protocol, "--data-binary", "some words"]).arg(server.url("/echo")))?;
        assert_eq!(posted, "some words");
    }
    Ok(())
}

#[test]
fn a_gigabyte_comes_down_whole() -> anyhow::Result<()> {
    let server = HyperServer::start()?;
    let expected = Pattern::new(GIB).digest();
    for (name, protocol) in PROTOCOLS {
        let begun = Instant::now();
        let mut curl =
            curl().arg(protocol).arg(server.url(&format!("/pattern/{GIB}"))).stdout(Stdio::piped()).spawn()?;
        let (digest, length) = digest_of(curl.stdout.take().context("a pipe")?)?;
        ensure!(curl.wait()?.success(), "curl failed");
        assert_eq!((digest, length), (expected.clone(), GIB), "{name}");
        saw(format!("curl, {name}: 1 GiB down, the digest is right, {:.1} s", begun.elapsed().as_secs_f64()));
    }
    Ok(())
}

#[test]
fn a_gigabyte_goes_up_whole() -> anyhow::Result<()> {
    let server = HyperServer::start()?;
    let expected = Pattern::new(GIB).digest();
    for (name, protocol) in PROTOCOLS {
        let begun = Instant::now();
        let mut command = curl();
        command.args([protocol, "--upload-file", "-"]).arg(server.url("/digest"));
        let mut curl = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut body = curl.stdin.take().context("a pipe")?;
        let writer = thread::spawn(move || Pattern::new(GIB).try_for_each(|piece| body.write_all(&piece)));
        let mut digest = String::new();
        curl.stdout.take().context("a pipe")?.read_to_string(&mut digest)?;
        ensure!(curl.wait()?.success(), "curl failed");
        writer.join().expect("it does not panic")?;
        assert_eq!(digest, expected, "{name}");
        saw(format!("curl, {name}: 1 GiB up, the digest is right, {:.1} s", begun.elapsed().as_secs_f64()));
    }
    Ok(())
}

#[test]
fn wrk_sees_no_error_at_64_connections() -> anyhow::Result<()> {
    let server = HyperServer::start()?;
    let duration = format!("-d{}s", seconds());
    let text = output(program("wrk").args(["-t2", "-c64", "--timeout=30s", &duration]).arg(server.url("/hello")))?;
    // wrk prints these lines only if there is something to say.
    ensure!(!text.contains("Socket errors") && !text.contains("Non-2xx"), "{text}");
    let line = text.lines().find(|line| line.contains("requests in")).context("wrk counts requests")?;
    let requests: u64 = line.split_whitespace().next().context("a number")?.parse()?;
    ensure!(requests > 0, "{text}");
    saw(format!("wrk, HTTP/1.1, 64 connections, {} s: {requests} requests, no error", seconds()));
    Ok(())
}

#[test]
fn h2load_sees_no_error_at_64_connections() -> anyhow::Result<()> {
    let server = HyperServer::start()?;
    for (name, protocol, streams) in [("HTTP/2, 10 streams each", "h2c", "-m10"), ("HTTP/1.1", "http/1.1", "-m1")] {
        let duration = format!("-D{}", seconds());
        let mut h2load = program("h2load");
        h2load.args(["-c64", "-t1", streams, &duration, "-p", protocol]).arg(server.url("/hello"));
        let text = output(&mut h2load)?;
        let line = text.lines().find(|line| line.starts_with("requests: ")).context("h2load counts requests")?;
        ensure!(line.contains(" 0 failed, 0 errored, 0 timeout"), "{text}");
        let statuses =
            text.lines().find(|line| line.starts_with("status codes: ")).context("h2load counts statuses")?;
        ensure!(statuses.ends_with(" 0 3xx, 0 4xx, 0 5xx"), "{text}");
        let good: u64 = statuses.split_whitespace().nth(2).context("a number")?.parse()?;
        ensure!(good > 0, "{text}");
        saw(format!("h2load, {name}, 64 connections, {} s: {good} requests, no error", seconds()));
    }
    Ok(())
}

#[test]
fn a_connection_is_kept_for_the_next_request() -> anyhow::Result<()> {
    let server = HyperServer::start()?;
    let urls = (0..20).map(|number| server.url(&format!("/number/{number}")));
    // The first of the 20 lines says 1, the others 0.
    let text = output(curl().args(["--http1.1", "-w", " %{num_connects}\n"]).args(urls))?;
    let lines = (0..20).map(|number| format!("{number} {}\n", u8::from(number == 0))).collect::<String>();
    assert_eq!(text, lines);
    assert_eq!(how_it_ended(&server)?, Ok(()));

    // Debian's curl 7.88 fails with the second request of HTTP/2 without TLS, against nginx too.
    let text = output(program("h2load").args(["-c1", "-n1000", "-p", "h2c"]).arg(server.url("/hello")))?;
    ensure!(text.contains(" 1000 succeeded, 0 failed, 0 errored"), "{text}");
    assert_eq!(how_it_ended(&server)?, Ok(()));
    let others = server.ended.try_iter().count();
    assert_eq!(others, 0, "connections beside the first");
    Ok(())
}

#[test]
fn pipelined_requests_are_answered_in_order() -> anyhow::Result<()> {
    const REQUESTS: usize = 2_000;
    let server = HyperServer::start()?;
    let mut stream = connect(&server)?;
    let requests: String =
        (0..REQUESTS).map(|number| format!("GET /number/{number} HTTP/1.1\r\nhost: localhost\r\n\r\n")).collect();
    let mut reader = BufReader::new(stream.try_clone()?);
    let writer = thread::spawn(move || stream.write_all(requests.as_bytes()));
    for number in 0..REQUESTS {
        assert_eq!(response(&mut reader)?, number.to_string().as_bytes());
    }
    Ok(writer.join().expect("it does not panic")?)
}

#[test]
fn a_client_that_sends_a_byte_at_a_time_is_served() -> anyhow::Result<()> {
    let server = HyperServer::start()?;
    let mut stream = connect(&server)?;
    let body = Pattern::new(1_000).bytes();
    let head = format!("POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut reader = BufReader::new(stream.try_clone()?);
    let sent = body.clone();
    let writer = thread::spawn(move || {
        head.as_bytes().iter().chain(&sent).try_for_each(|byte| {
            // So that the bytes do not come together.
            thread::sleep(Duration::from_micros(200));
            stream.write_all(&[*byte])
        })
    });
    assert!(response(&mut reader)? == body);
    Ok(writer.join().expect("it does not panic")?)
}

#[test]
fn a_client_that_reads_slowly_gets_everything_and_holds_up_nobody() -> anyhow::Result<()> {
    const LENGTH: u64 = 8 << 20;
    let server = HyperServer::start()?;
    let mut slow = connect(&server)?;
    SockRef::from(&slow).set_recv_buffer_size(64 << 10)?;
    write!(slow, "GET /pattern/{LENGTH} HTTP/1.0\r\nhost: localhost\r\n\r\n")?;
    let mut reader = BufReader::new(slow);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        ensure!(reader.read_line(&mut line)? > 0, "the connection ends inside the head");
    }
    // Both ports of the server are kept busy by others, and the body is far larger than what the kernel holds.
    let mut others = BufReader::new(connect(&server)?);
    let (mut received, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let count = reader.read(&mut piece)?;
        if count == 0 {
            break;
        }
        received.extend_from_slice(&piece[..count]);
        thread::sleep(Duration::from_micros(500));
        if received.len() < 1 << 20 {
            others.get_mut().write_all(b"GET /hello HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
            assert_eq!(response(&mut others)?, b"Hello, World!");
        }
    }
    assert!(received == Pattern::new(LENGTH).bytes());
    Ok(())
}

#[test]
fn a_client_that_vanishes_in_its_body_ends_its_connection_with_an_error() -> anyhow::Result<()> {
    let server = HyperServer::start()?;
    for resets in [true, false] {
        let mut stream = connect(&server)?;
        stream.write_all(b"POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\nsome bytes")?;
        let mut first = [0; 15];
        // The request is being answered.
        stream.read_exact(&mut first)?;
        assert_eq!(&first, b"HTTP/1.1 200 OK");
        if resets {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        }
        drop(stream);
        let end = how_it_ended(&server)?;
        ensure!(end.is_err(), "half a request, and no error");
    }
    Ok(())
}

#[test]
fn a_client_that_vanishes_in_the_response_ends_its_connection() -> anyhow::Result<()> {
    let server = HyperServer::start()?;
    for resets in [true, false] {
        let mut stream = connect(&server)?;
        write!(stream, "GET /pattern/{GIB} HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        stream.read_exact(&mut [0; 100_000])?;
        if resets {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        }
        drop(stream);
        let end = how_it_ended(&server)?;
        ensure!(end.is_err(), "a part of the response, and no error");
    }
    // It serves others as before.
    assert_eq!(output(curl().arg(server.url("/hello")))?, "Hello, World!");
    Ok(())
}

#[test]
fn a_client_that_ends_its_sending_half_is_still_answered() -> anyhow::Result<()> {
    let server = HyperServer::start()?;
    let mut stream = connect(&server)?;
    stream.write_all(b"GET /pattern/300000 HTTP/1.0\r\nhost: localhost\r\n\r\n")?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    assert!(answer.ends_with(&Pattern::new(300_000).bytes()));
    Ok(())
}

#[test]
fn the_end_of_the_engine_ends_its_connections() -> anyhow::Result<()> {
    let server = HyperServer::start()?;
    let mut stream = connect(&server)?;
    write!(stream, "GET /pattern/{GIB} HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    stream.read_exact(&mut [0; 1_000])?;
    drop(server);
    let (_, length) = digest_of(stream.take(GIB))?;
    ensure!(length < GIB, "it went on to the end");
    Ok(())
}
