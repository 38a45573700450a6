//! The crate `redis` over the streams, through tokio's traits. Debian's redis-server is the peer.

use anyhow::{Context as _, ensure};
use async_socket_futures::{Stream, spawn_local, timeout};
use futures_util::StreamExt as _;
use interop::pattern::Pattern;
use interop::process::{Server, free_port};
use interop::{LIMIT, run, saw};
use nix::sys::signal::Signal;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, Value, cmd, pipe};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::mpsc::unbounded_channel;

struct Redis {
    server: Server,
    folder: TempDir,
}

impl Redis {
    fn start() -> anyhow::Result<Self> {
        let (folder, address) = (tempfile::tempdir()?, free_port()?);
        let mut redis = Command::new("redis-server");
        redis.args(["--bind", "127.0.0.1", "--port"]).arg(address.port().to_string());
        redis.args(["--save", "", "--appendonly", "no", "--dir"]).arg(folder.path());
        redis.arg("--unixsocket").arg(folder.path().join("socket"));
        let server = Server::start(redis, address, &folder.path().join("log"), Signal::SIGKILL)?;
        Ok(Self { server, folder })
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    async fn connect(&self) -> anyhow::Result<MultiplexedConnection> {
        let stream = Stream::connect(self.server.address).await?;
        connection(stream, AsyncConnectionConfig::new(), RedisConnectionInfo::default()).await
    }
}

/// A connection whose driver is a task of the current port. The crate's own time-out would need tokio's runtime.
async fn connection(
    stream: Stream,
    config: AsyncConnectionConfig,
    info: RedisConnectionInfo,
) -> anyhow::Result<MultiplexedConnection> {
    let config = config.set_response_timeout(None);
    let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config).await?;
    drop(spawn_local(driver)?);
    Ok(connection)
}

#[test]
fn large_values_come_back_by_tcp_and_by_a_unix_socket() -> anyhow::Result<()> {
    let redis = Redis::start()?;
    let begun = Instant::now();
    run(async {
        let unix = Stream::connect_unix(redis.socket()).await?;
        let unix = connection(unix, AsyncConnectionConfig::new(), RedisConnectionInfo::default()).await?;
        for mut connection in [redis.connect().await?, unix] {
            for size in [0, 1, 1_000, 1 << 20, 100 << 20] {
                let value = Pattern::new(size).bytes();
                cmd("SET").arg("key").arg(&value).exec_async(&mut connection).await?;
                let back: Vec<u8> = cmd("GET").arg("key").query_async(&mut connection).await?;
                ensure!(back == value, "{size} bytes");
            }
            let none: Option<String> = cmd("GET").arg("another").query_async(&mut connection).await?;
            assert_eq!(none, None);
        }
        anyhow::Ok(())
    })?;
    let time = begun.elapsed().as_secs_f64();
    saw(format!("redis-server: values of up to 100 MiB there and back by TCP and a Unix socket, {time:.1} s"));
    Ok(())
}

#[test]
fn a_pipeline_and_many_tasks_share_a_connection() -> anyhow::Result<()> {
    const COMMANDS: usize = 20_000;
    const TASKS: usize = 64;
    let redis = Redis::start()?;
    run(async {
        let begun = Instant::now();
        let connection = redis.connect().await?;
        let mut pipeline = pipe();
        for number in 0..COMMANDS {
            pipeline.cmd("INCRBY").arg("sum").arg(number);
        }
        let sums: Vec<usize> = pipeline.query_async(&mut connection.clone()).await?;
        let expected = (0..COMMANDS).scan(0, |sum, number| {
            *sum += number;
            Some(*sum)
        });
        ensure!(sums.into_iter().eq(expected), "answers are out of order");

        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let mut connection = connection.clone();
                spawn_local(async move {
                    for number in 0..200 {
                        let text = format!("{task}-{number}");
                        let echoed: String = cmd("ECHO").arg(&text).query_async(&mut connection).await?;
                        ensure!(echoed == text, "{echoed} for {text}");
                    }
                    anyhow::Ok(())
                })
            })
            .collect::<Result<_, _>>()?;
        for task in tasks {
            task.await.expect("it does not panic")?;
        }
        let time = begun.elapsed().as_secs_f64();
        saw(format!("redis-server: {COMMANDS} commands in a pipeline, {} of {TASKS} tasks, {time:.1} s", TASKS * 200));
        Ok(())
    })
}

#[test]
fn what_is_published_arrives_beside_answers() -> anyhow::Result<()> {
    const MESSAGES: usize = 10_000;
    let redis = Redis::start()?;
    run(async {
        let (sender, mut pushed) = unbounded_channel::<PushInfo>();
        let info = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3);
        let config = AsyncConnectionConfig::new().set_push_sender(sender);
        let mut subscriber = connection(Stream::connect(redis.server.address).await?, config, info).await?;
        subscriber.subscribe("news").await?;
        let mut publisher = redis.connect().await?;
        let publishing = spawn_local(async move {
            for number in 0..MESSAGES {
                let heard_by: usize = cmd("PUBLISH").arg("news").arg(number).query_async(&mut publisher).await?;
                ensure!(heard_by == 1, "{heard_by} subscribers");
            }
            anyhow::Ok(())
        })?;
        let mut next = 0;
        while next < MESSAGES {
            let push = pushed.recv().await.context("the connection goes on")?;
            if push.kind == PushKind::Message {
                assert_eq!(push.data.last(), Some(&Value::BulkString(next.to_string().into_bytes())));
                next += 1;
                if next % 1_000 == 0 {
                    let answer: String = cmd("PING").query_async(&mut subscriber).await?;
                    assert_eq!(answer, "PONG");
                }
            }
        }
        publishing.await.expect("it does not panic")?;
        saw(format!("redis-server: {MESSAGES} published messages in order"));
        Ok(())
    })
}

/// This type begins a task with tokio, so it needs tokio's runtime. The stream does not.
#[test]
fn the_subscriber_of_the_crate_runs_under_tokio() -> anyhow::Result<()> {
    let redis = Redis::start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let info = RedisConnectionInfo::default();
        let mut subscriber = PubSub::new(&info, Stream::connect(redis.server.address).await?).await?;
        subscriber.subscribe("news").await?;
        let stream = Stream::connect(redis.server.address).await?;
        let config = AsyncConnectionConfig::new();
        let (mut publisher, driver) = MultiplexedConnection::new_with_config(&info, stream, config).await?;
        tokio::spawn(driver);
        let mut messages = subscriber.on_message();
        for number in 0..1_000 {
            cmd("PUBLISH").arg("news").arg(number).exec_async(&mut publisher).await?;
            let message = tokio::time::timeout(LIMIT, messages.next()).await?.context("the connection goes on")?;
            assert_eq!(message.get_payload::<usize>()?, number);
        }
        Ok(())
    })
}

#[test]
fn a_request_that_is_given_up_leaves_the_connection_whole() -> anyhow::Result<()> {
    let redis = Redis::start()?;
    run(async {
        let mut connection = redis.connect().await?;
        let mut waiting = connection.clone();
        let pop = cmd("BLPOP").arg("list").arg(0.3).to_owned();
        let given_up = timeout(Duration::from_millis(50), pop.query_async::<Value>(&mut waiting)).await;
        ensure!(given_up.is_err(), "an empty list gave {given_up:?}");
        for number in 0..100 {
            let echoed: usize = cmd("ECHO").arg(number).query_async(&mut connection).await?;
            assert_eq!(echoed, number);
        }
        Ok(())
    })
}

#[test]
fn a_server_that_is_killed_in_a_request_is_an_error() -> anyhow::Result<()> {
    let mut redis = Redis::start()?;
    run(async {
        let mut connection = redis.connect().await?;
        let mut waiting = connection.clone();
        let request = spawn_local(async move { cmd("BLPOP").arg("list").arg(0).exec_async(&mut waiting).await })?;
        // The server has the request before this one.
        let blocked: String = loop {
            let mut other = redis.connect().await?;
            let clients: String = cmd("INFO").arg("clients").query_async(&mut other).await?;
            if clients.contains("blocked_clients:1") {
                break clients;
            }
        };
        ensure!(!request.is_finished(), "it waits: {blocked}");
        redis.server.signal(Signal::SIGKILL)?;
        redis.server.wait()?;
        let outcome = request.await.expect("it does not panic");
        let error = outcome.err().context("no server, and no error")?;
        ensure!(error.is_io_error() || error.is_connection_dropped(), "{error}");
        let later = cmd("PING").exec_async(&mut connection).await;
        ensure!(later.is_err(), "no server, and no error");
        Ok(())
    })
}
