//! async-tungstenite over the streams, as a server and as a client. Python's websockets is the peer.

use anyhow::{Context as _, bail, ensure};
use async_socket_futures::{Engine, Listener, Stream, block_on, spawn_local};
use async_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use async_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use async_tungstenite::tungstenite::{Error, Message};
use async_tungstenite::{accept_async_with_config, client_async_with_config};
use futures_util::StreamExt as _;
use interop::pattern::Pattern;
use interop::process::{output, program};
use interop::{LIMIT, run, saw};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Debian's, because the package of websockets is for this one.
const PYTHON: &str = "/usr/bin/python3";

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/websocket.py");

fn config() -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(None).max_frame_size(None)
}

/// Sends back what comes, up to the end.
async fn echo(stream: Stream) -> Result<(), Error> {
    let mut socket = accept_async_with_config(stream, Some(config())).await?;
    while let Some(message) = socket.next().await {
        match message? {
            Message::Text(text) if text == "please close" => {
                let frame = CloseFrame { code: CloseCode::from(4002), reason: "as you say".into() };
                socket.close(Some(frame)).await?;
            }
            message @ (Message::Text(_) | Message::Binary(_)) => socket.send(message).await?,
            // It answers pings and the end itself.
            _ => {}
        }
    }
    Ok(())
}

/// An echo server on a port of its own.
struct Echo {
    address: SocketAddr,
    /// How its connections end.
    ended: Receiver<Result<(), Error>>,
    _engine: Engine,
}

fn server() -> anyhow::Result<Echo> {
    let engine = Engine::builder().build()?;
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let (sender, ended) = channel();
    engine.spawn_local_on(0, move || async move {
        let listener = Listener::new(listener).expect("a listener");
        while let Ok(stream) = listener.accept().await {
            let sender = sender.clone();
            let connection = async move { sender.send(echo(stream).await) };
            drop(spawn_local(connection).expect("in a task"));
        }
    })?;
    Ok(Echo { address, ended, _engine: engine })
}

/// Python's server, which is ended when this is dropped.
struct Python {
    process: Child,
    address: SocketAddr,
}

impl Python {
    fn start() -> anyhow::Result<Self> {
        let mut command = Command::new(PYTHON);
        let mut process = command.args([SCRIPT, "server"]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("a pipe")?).read_line(&mut line)?;
        let address = (Ipv4Addr::LOCALHOST, line.trim().parse()?).into();
        Ok(Self { process, address })
    }

    fn kill(&mut self) {
        // An error says that it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
fn pythons_client_gets_back_what_it_sends_and_closes_as_it_should() -> anyhow::Result<()> {
    let server = server()?;
    let begun = Instant::now();
    let mut python = program(PYTHON);
    let text = output(python.args([SCRIPT, "client"]).arg(format!("ws://{}/", server.address)))?;
    assert_eq!(text.lines().collect::<Vec<_>>(), ["small_and_large", "fragments", "pings", "through", "closed"]);
    for _ in 0..2 {
        server.ended.recv_timeout(LIMIT)??;
    }
    let time = begun.elapsed().as_secs_f64();
    saw(format!("Python's websockets, client: 100 MiB through and back, fragments, pings, both ends, {time:.1} s"));
    Ok(())
}

#[test]
fn pythons_server_sends_back_what_it_gets() -> anyhow::Result<()> {
    const PIECE: usize = 1 << 20;
    let python = Python::start()?;
    let begun = Instant::now();
    run(async {
        let stream = Stream::connect(python.address).await?;
        let (mut socket, _) = client_async_with_config("ws://localhost/", stream, Some(config())).await?;
        for size in [0, 1, 125, 126, 65_535, 65_536, 20 << 20] {
            let message = Message::binary(Pattern::new(size).bytes());
            socket.send(message.clone()).await?;
            assert!(data(&mut socket).await? == message, "{size} bytes");
        }
        socket.send(Message::text("größer, 大きい, 🙂")).await?;
        ensure!(data(&mut socket).await? == Message::text("größer, 大きい, 🙂"));

        // A task of its own sends. So many messages are under way, in both directions.
        let all = Pattern::new(100 << 20).bytes();
        let (mut sink, mut source) = socket.split();
        let sent = all.clone();
        let sending = spawn_local(async move {
            for piece in sent.chunks(PIECE) {
                sink.send(Message::binary(piece.to_vec())).await?;
            }
            Ok::<_, Error>(sink)
        })?;
        for piece in all.chunks(PIECE) {
            ensure!(data(&mut source).await?.into_data() == piece, "other bytes came back");
        }
        let mut sink = sending.await.expect("it does not panic")?;
        let frame = CloseFrame { code: CloseCode::Normal, reason: "enough".into() };
        sink.close(Some(frame.clone())).await?;
        let answer = loop {
            if let Message::Close(answer) = source.next().await.context("the answer to the close")?? {
                break answer;
            }
        };
        assert_eq!(answer, Some(frame));
        ensure!(source.next().await.is_none(), "it goes on after the end");
        anyhow::Ok(())
    })?;
    let time = begun.elapsed().as_secs_f64();
    saw(format!("Python's websockets, server: 100 MiB through and back, fragments, pings, the end, {time:.1} s"));
    Ok(())
}

/// The next message that is not about the connection.
async fn data(
    socket: &mut (impl futures_util::Stream<Item = Result<Message, Error>> + Unpin),
) -> anyhow::Result<Message> {
    loop {
        match socket.next().await.context("it goes on")?? {
            message @ (Message::Text(_) | Message::Binary(_)) => return Ok(message),
            Message::Close(_) => bail!("closed"),
            _ => {}
        }
    }
}

#[test]
fn a_peer_that_vanishes_without_a_close_is_an_error() -> anyhow::Result<()> {
    let mut python = Python::start()?;
    let outcome = block_on(async {
        let stream = Stream::connect(python.address).await?;
        let (mut socket, _) = client_async_with_config("ws://localhost/", stream, Some(config())).await?;
        socket.send(Message::text("something")).await?;
        data(&mut socket).await?;
        python.kill();
        anyhow::Ok(async_socket_futures::timeout(LIMIT, data(&mut socket)).await?)
    })??;
    ensure!(outcome.is_err(), "{outcome:?}");

    let server = server()?;
    let mut stream = TcpStream::connect(server.address)?;
    write!(
        stream,
        "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )?;
    // The head of a message of 100 bytes, its mask, and a few of its bytes.
    stream.write_all(&[0x82, 0x80 | 100, 1, 2, 3, 4, 5, 6, 7])?;
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    drop(stream);
    ensure!(server.ended.recv_timeout(LIMIT)?.is_err(), "a part of a message, and no error");
    Ok(())
}
