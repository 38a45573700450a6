//! The crate `tokio-postgres` over the streams, through tokio's traits and without its runtime. Debian's PostgreSQL is the
//! peer, with a cluster of its own for each test.

use anyhow::{Context as _, ensure};
use async_socket_futures::{Stream, spawn_local};
use futures_util::future::join_all;
use futures_util::{SinkExt as _, StreamExt as _};
use interop::pattern::Pattern;
use interop::process::{Server, as_user, free_port, output, until};
use interop::{run, saw};
use nix::sys::signal::Signal;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::fs;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Notification};

struct Postgres {
    server: Server,
    folder: TempDir,
}

/// The programs of the newest version, which Debian keeps out of `PATH`.
fn programs() -> anyhow::Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").context("PostgreSQL is not installed")?;
    let number = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let paths = versions.filter_map(|entry| Some(entry.ok()?.path()));
    let installed = paths.filter(|path| path.join("bin/postgres").exists());
    Ok(installed.max_by_key(number).context("PostgreSQL is not installed")?.join("bin"))
}

impl Postgres {
    fn start() -> anyhow::Result<Self> {
        let (programs, folder, address) = (programs()?, tempfile::tempdir()?, free_port()?);
        let data = folder.path().join("data");
        let mut initdb = Command::new(programs.join("initdb"));
        initdb.args(["--auth=trust", "--username=tester", "--no-sync", "--locale=C.UTF-8", "--pgdata"]).arg(&data);
        // It refuses to run as root.
        as_user(&mut initdb, "postgres", folder.path())?;
        output(initdb.current_dir(folder.path()).stdin(Stdio::null()))?;

        let mut postgres = Command::new(programs.join("postgres"));
        postgres.arg("-D").arg(&data).arg("-p").arg(address.port().to_string());
        postgres.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-k"]).arg(folder.path());
        as_user(&mut postgres, "postgres", folder.path())?;
        postgres.current_dir(folder.path());
        // An end by SIGQUIT frees the shared memory.
        let server = Server::start(postgres, address, &folder.path().join("log"), Signal::SIGQUIT)?;
        // It accepts connections before it serves them.
        let mut ready = Command::new(programs.join("pg_isready"));
        ready.args(["-q", "-h", "127.0.0.1", "-p"]).arg(address.port().to_string());
        until("PostgreSQL serves", || ready.status().is_ok_and(|status| status.success()))?;
        Ok(Self { server, folder })
    }

    async fn connect(&self) -> anyhow::Result<Client> {
        Ok(connect(Stream::connect(self.server.address).await?).await?.0)
    }
}

/// A client whose connection is a task of the current port, and its notifications.
async fn connect(stream: Stream) -> anyhow::Result<(Client, UnboundedReceiver<Notification>)> {
    let (client, mut connection) = Config::new().user("tester").dbname("postgres").connect_raw(stream, NoTls).await?;
    let (sender, notifications) = unbounded_channel();
    let driver = async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message {
                // Only one test asks for them.
                let _ = sender.send(notification);
            }
        }
    };
    drop(spawn_local(driver)?);
    Ok((client, notifications))
}

#[test]
fn queries_are_answered_by_tcp_and_by_a_unix_socket() -> anyhow::Result<()> {
    let postgres = Postgres::start()?;
    run(async {
        let path = postgres.folder.path().join(format!(".s.PGSQL.{}", postgres.server.address.port()));
        let (unix, _) = connect(Stream::connect_unix(path).await?).await?;
        let begun = Instant::now();
        for client in [postgres.connect().await?, unix] {
            client.batch_execute("CREATE TEMP TABLE people (id int PRIMARY KEY, name text, photo bytea)").await?;
            let insert = client.prepare("INSERT INTO people VALUES ($1, $2, $3)").await?;
            let photo = Pattern::new(5 << 20).bytes();
            client.execute(&insert, &[&1, &"Ada", &photo]).await?;
            client.execute(&insert, &[&2, &"größer, 大きい, 🙂", &Vec::<u8>::new()]).await?;
            let rows = client.query("SELECT name, photo FROM people ORDER BY id", &[]).await?;
            assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<&str>>(), ["Ada", "größer, 大きい, 🙂"]);
            ensure!(rows[0].get::<_, Vec<u8>>(1) == photo, "another photo");

            let error = client.execute(&insert, &[&1, &"Bob", &photo]).await.err().context("1 is taken")?;
            assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION));

            // All of them are under way at once.
            let twice = client.prepare("SELECT 2 * $1::int").await?;
            let queries = (0..5_000).map(|number: i32| {
                let (client, twice) = (&client, &twice);
                async move { anyhow::Ok(client.query_one(twice, &[&number]).await?.get::<_, i32>(0)) }
            });
            for (answer, number) in join_all(queries).await.into_iter().zip(0..) {
                assert_eq!(answer?, 2 * number);
            }
            let many = client.query("SELECT g, repeat('x', 100) FROM generate_series(1, 100000) g", &[]).await?;
            assert_eq!(many.len(), 100_000);
        }
        let time = begun.elapsed().as_secs_f64();
        saw(format!("PostgreSQL: 10,000 pipelined queries, 200,000 rows, by TCP and a Unix socket, {time:.1} s"));
        Ok(())
    })
}

#[test]
fn a_hundred_megabytes_go_in_and_come_out_by_copy() -> anyhow::Result<()> {
    let postgres = Postgres::start()?;
    // Lines of 128 bytes.
    let mut lines = String::new();
    for bytes in Pattern::new(50 << 20).bytes().chunks(64) {
        for byte in bytes {
            write!(lines, "{byte:02x}")?;
        }
        lines.replace_range(lines.len() - 1.., "\n");
    }
    ensure!(lines.len() == 100 << 20);
    run(async {
        let (client, begun) = (postgres.connect().await?, Instant::now());
        client.batch_execute("CREATE UNLOGGED TABLE lines (line text)").await?;
        let mut sink = pin!(client.copy_in("COPY lines FROM STDIN").await?);
        for piece in lines.as_bytes().chunks(100_000) {
            sink.send(hyper::body::Bytes::copy_from_slice(piece)).await?;
        }
        let rows = sink.finish().await?;
        assert_eq!(rows, lines.len() as u64 / 128);
        let inwards = begun.elapsed().as_secs_f64();
        let mut stream = pin!(client.copy_out("COPY lines TO STDOUT").await?);
        let mut digest = Sha256::new();
        while let Some(piece) = stream.next().await {
            digest.update(piece?);
        }
        ensure!(digest.finalize() == Sha256::digest(&lines), "other lines came out");
        let outwards = begun.elapsed().as_secs_f64() - inwards;
        saw(format!("PostgreSQL: 100 MiB by COPY in {inwards:.1} s, out {outwards:.1} s, the digest is right"));

        // A copy that is given up leaves the connection whole.
        let mut dropped = Box::pin(client.copy_out("COPY lines TO STDOUT").await?);
        dropped.next().await.context("a piece")??;
        drop(dropped);
        assert_eq!(client.query_one("SELECT count(*) FROM lines", &[]).await?.get::<_, i64>(0).cast_unsigned(), rows);
        Ok(())
    })
}

#[test]
fn notifications_arrive_without_a_query() -> anyhow::Result<()> {
    const MESSAGES: usize = 2_000;
    let postgres = Postgres::start()?;
    run(async {
        let (listener, mut notifications) = connect(Stream::connect(postgres.server.address).await?).await?;
        listener.batch_execute("LISTEN news").await?;
        let sender = postgres.connect().await?;
        let notify = sender.prepare("SELECT pg_notify('news', $1)").await?;
        let sending = spawn_local(async move {
            for number in 0..MESSAGES {
                sender.query(&notify, &[&number.to_string()]).await?;
            }
            anyhow::Ok(())
        })?;
        for number in 0..MESSAGES {
            let notification = notifications.recv().await.context("the connection goes on")?;
            assert_eq!((notification.channel(), notification.payload()), ("news", number.to_string().as_str()));
        }
        sending.await.expect("it does not panic")?;
        saw(format!("PostgreSQL: {MESSAGES} notifications in order"));
        Ok(())
    })
}

/// Begins a query that takes longer than any test, and waits until the server has it.
async fn begin_to_sleep(
    postgres: &Postgres,
    client: Client,
) -> anyhow::Result<impl Future<Output = tokio_postgres::Error>> {
    let query = spawn_local(async move { client.batch_execute("SELECT pg_sleep(3600)").await })?;
    let other = postgres.connect().await?;
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(3600)' AND state = 'active'";
    while other.query_one(sleeping, &[]).await?.get::<_, i64>(0) == 0 {}
    Ok(async { query.await.expect("it does not panic").expect_err("it takes an hour") })
}

#[test]
fn a_query_is_cancelled_over_a_connection_of_its_own() -> anyhow::Result<()> {
    let postgres = Postgres::start()?;
    run(async {
        let client = postgres.connect().await?;
        let cancel = client.cancel_token();
        let query = begin_to_sleep(&postgres, client).await?;
        cancel.cancel_query_raw(Stream::connect(postgres.server.address).await?, NoTls).await?;
        let error = query.await;
        ensure!(error.code() == Some(&SqlState::QUERY_CANCELED), "{error}");
        Ok(())
    })
}

#[test]
fn a_server_that_stops_in_a_query_is_an_error() -> anyhow::Result<()> {
    // SIGINT tells the clients why, SIGQUIT does not.
    for (signal, expected) in [(Signal::SIGINT, Some(SqlState::ADMIN_SHUTDOWN)), (Signal::SIGQUIT, None)] {
        let mut postgres = Postgres::start()?;
        run(async {
            let query = begin_to_sleep(&postgres, postgres.connect().await?).await?;
            postgres.server.signal(signal)?;
            let error = query.await;
            ensure!(expected.is_none() || error.code() == expected.as_ref(), "{error:?}");
            postgres.server.wait()?;
            let refused = postgres.connect().await;
            ensure!(refused.is_err(), "connected to a server that is gone");
            Ok(())
        })?;
    }
    Ok(())
}
