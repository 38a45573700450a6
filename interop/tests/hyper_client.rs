//! hyper as a client over the streams, against nginx and against hyper over the streams.

use anyhow::{Context as _, ensure};
use async_socket_futures::{LocalExecutor, PortTimer, Stream, sleep, spawn_local};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::HeaderValue;
use hyper::{Request, Response};
use interop::http::{AnyBody, HyperServer, full, pattern};
use interop::pattern::{Pattern, hex};
use interop::process::{Server, free_port};
use interop::{GIB, run, saw};
use nix::sys::signal::Signal;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy)]
enum Protocol {
    Http1,
    Http2,
}

const PROTOCOLS: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

/// A connection of either protocol.
enum Sender {
    Http1(http1::SendRequest<AnyBody>),
    Http2(http2::SendRequest<AnyBody>),
}

impl Sender {
    async fn connect(protocol: Protocol, address: SocketAddr) -> anyhow::Result<Self> {
        let stream = Stream::connect(address).await?;
        Ok(match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(stream).await?;
                drop(spawn_local(connection)?);
                Self::Http1(sender)
            }
            Protocol::Http2 => {
                let mut builder = http2::Builder::new(LocalExecutor);
                let (sender, connection) = builder.timer(PortTimer).handshake(stream).await?;
                drop(spawn_local(connection)?);
                Self::Http2(sender)
            }
        })
    }

    async fn send(&mut self, mut request: Request<AnyBody>) -> anyhow::Result<Response<Incoming>> {
        let response = match self {
            Self::Http1(sender) => {
                // HTTP/2 has it in the address, and nginx refuses a second one.
                request.headers_mut().insert("host", HeaderValue::from_static("localhost"));
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        ensure!(response.status().is_success(), "{}", response.status());
        Ok(response)
    }
}

fn get(path: &str) -> anyhow::Result<Request<AnyBody>> {
    Ok(Request::get(format!("http://localhost{path}")).body(full(""))?)
}

fn post(path: &str, body: AnyBody) -> anyhow::Result<Request<AnyBody>> {
    Ok(Request::post(format!("http://localhost{path}")).body(body)?)
}

async fn text(response: Response<Incoming>) -> anyhow::Result<String> {
    Ok(String::from_utf8(response.into_body().collect().await?.to_bytes().to_vec())?)
}

async fn digest(response: Response<Incoming>) -> anyhow::Result<(String, u64)> {
    let (mut digest, mut length, mut body) = (Sha256::new(), 0, response.into_body());
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            digest.update(data);
            length += data.len() as u64;
        }
    }
    Ok((hex(digest), length))
}

/// nginx, which serves files, by HTTP/1.1 at the first address and by HTTP/2 at the second.
struct Nginx {
    server: Server,
    http2: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Nginx {
    fn start(file_length: u64) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path();
        fs::create_dir(path.join("files"))?;
        fs::write(path.join("files/hello"), "Hello, World!")?;
        let mut file = fs::File::create(path.join("files/pattern"))?;
        Pattern::new(file_length).try_for_each(|piece| file.write_all(&piece))?;
        let [http1, http2] = [free_port()?, free_port()?];
        let here = path.display();
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary: String = paths.iter().map(|name| format!("{name}_temp_path {here}/{name};\n")).collect();
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid {here}/pid;\nerror_log {here}/errors;\nevents {{}}\n\
             http {{\naccess_log off;\nkeepalive_requests 1000000;\n{temporary}\
             server {{ listen {http1}; listen {http2} http2; root {here}/files; }}\n}}\n"
        );
        fs::write(path.join("nginx.conf"), configuration)?;
        let mut nginx = Command::new("nginx");
        nginx.arg("-p").arg(path).arg("-c").arg(path.join("nginx.conf"));
        let server = Server::start(nginx, http1, &path.join("log"), Signal::SIGKILL)?;
        Ok(Self { server, http2, _folder: folder })
    }

    fn address(&self, protocol: Protocol) -> SocketAddr {
        match protocol {
            Protocol::Http1 => self.server.address,
            Protocol::Http2 => self.http2,
        }
    }
}

#[test]
fn nginx_answers_many_requests_on_64_connections() -> anyhow::Result<()> {
    const REQUESTS: usize = 200;
    let nginx = Nginx::start(0)?;
    for protocol in PROTOCOLS {
        let (address, begun) = (nginx.address(protocol), Instant::now());
        run(async {
            let clients: Vec<_> = (0..64)
                .map(|_| {
                    spawn_local(async move {
                        let mut sender = Sender::connect(protocol, address).await?;
                        for _ in 0..REQUESTS {
                            let answer = text(sender.send(get("/hello")?).await?).await?;
                            ensure!(answer == "Hello, World!", "{answer}");
                        }
                        anyhow::Ok(())
                    })
                })
                .collect::<Result<_, _>>()?;
            for client in clients {
                client.await.expect("it does not panic")?;
            }
            anyhow::Ok(())
        })?;
        let (count, time) = (64 * REQUESTS, begun.elapsed().as_secs_f64());
        saw(format!("nginx, {protocol:?}: {count} requests on 64 connections, no error, {time:.1} s"));
    }
    Ok(())
}

#[test]
fn a_file_of_nginx_comes_down_whole() -> anyhow::Result<()> {
    const LENGTH: u64 = GIB / 4;
    let nginx = Nginx::start(LENGTH)?;
    let expected = Pattern::new(LENGTH).digest();
    for protocol in PROTOCOLS {
        let begun = Instant::now();
        let got = run(async {
            let mut sender = Sender::connect(protocol, nginx.address(protocol)).await?;
            digest(sender.send(get("/pattern")?).await?).await
        })?;
        assert_eq!(got, (expected.clone(), LENGTH));
        let time = begun.elapsed().as_secs_f64();
        saw(format!("nginx, {protocol:?}: 256 MiB down, the digest is right, {time:.1} s"));
    }
    Ok(())
}

#[test]
fn nginx_that_is_killed_in_its_answer_is_an_error() -> anyhow::Result<()> {
    for protocol in PROTOCOLS {
        let mut nginx = Nginx::start(GIB / 4)?;
        let outcome = run(async {
            let mut sender = Sender::connect(protocol, nginx.address(protocol)).await?;
            let mut response = sender.send(get("/pattern")?).await?;
            response.body_mut().frame().await.context("a piece of the body")??;
            nginx.server.signal(Signal::SIGKILL)?;
            nginx.server.wait()?;
            anyhow::Ok(digest(response).await)
        })?;
        ensure!(outcome.is_err(), "a part of the file, and no error");
    }
    Ok(())
}

#[test]
fn a_gigabyte_comes_down_and_goes_up_whole_between_hypers() -> anyhow::Result<()> {
    let server = HyperServer::start()?;
    let expected = Pattern::new(GIB).digest();
    for protocol in PROTOCOLS {
        let begun = Instant::now();
        let down = run(async {
            let mut sender = Sender::connect(protocol, server.address).await?;
            digest(sender.send(get(&format!("/pattern/{GIB}"))?).await?).await
        })?;
        assert_eq!(down, (expected.clone(), GIB));
        let downwards = begun.elapsed().as_secs_f64();
        let up = run(async {
            let mut sender = Sender::connect(protocol, server.address).await?;
            text(sender.send(post("/digest", pattern(GIB))?).await?).await
        })?;
        assert_eq!(up, expected);
        let upwards = begun.elapsed().as_secs_f64() - downwards;
        saw(format!("hyper, {protocol:?}: 1 GiB down {downwards:.1} s, up {upwards:.1} s, the digests are right"));
    }
    Ok(())
}

#[test]
fn a_slow_body_both_ways_is_echoed() -> anyhow::Result<()> {
    const LENGTH: u64 = 3_000;
    let server = HyperServer::start()?;
    for protocol in PROTOCOLS {
        let echoed = run(async {
            let mut sender = Sender::connect(protocol, server.address).await?;
            let bytes = futures_util::stream::iter(Pattern::new(LENGTH).bytes());
            let slow = futures_util::StreamExt::then(bytes, async |byte| {
                sleep(Duration::from_micros(100)).await;
                Ok::<_, hyper::Error>(hyper::body::Frame::data(vec![byte].into()))
            });
            let body = http_body_util::StreamBody::new(slow).boxed_unsync();
            let mut response = sender.send(post("/echo", body)?).await?;
            let mut echoed = Vec::new();
            while let Some(frame) = response.body_mut().frame().await {
                echoed.extend_from_slice(frame?.data_ref().context("data")?);
                sleep(Duration::from_micros(50)).await;
            }
            anyhow::Ok(echoed)
        })?;
        assert!(echoed == Pattern::new(LENGTH).bytes());
    }
    Ok(())
}

#[test]
fn a_response_that_is_dropped_in_its_body_ends_the_stream_and_no_other() -> anyhow::Result<()> {
    let server = HyperServer::start()?;
    run(async {
        let mut sender = Sender::connect(Protocol::Http2, server.address).await?;
        let mut dropped = sender.send(get(&format!("/pattern/{GIB}"))?).await?;
        dropped.body_mut().frame().await.context("a piece of the body")??;
        drop(dropped);
        assert_eq!(text(sender.send(get("/hello")?).await?).await?, "Hello, World!");
        anyhow::Ok(())
    })
}
