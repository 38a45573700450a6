//! The examples of `async-socket-net` and clients that know nothing of them: socat, nc, curl.

use anyhow::{Context as _, ensure};
use interop::pattern::{Pattern, digest_of, hex};
use interop::process::{Server, curl, free_port, output, program};
use interop::{GIB, LIMIT, saw};
use nix::sys::signal::Signal;
use sha2::{Digest as _, Sha256};
use std::env;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;
use tempfile::TempDir;

/// An example, built in the workspace above.
fn example(name: &str) -> anyhow::Result<Command> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a workspace above")?;
    let target = workspace.join("target");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace).env("CARGO_TARGET_DIR", &target).stdin(Stdio::null());
    output(cargo.args(["build", "--quiet", "--package", "async-socket-net", "--example", name]))?;
    Ok(Command::new(target.join("debug/examples").join(name)))
}

/// The proxy in front of a server. What it prints goes to a file in the folder.
fn proxy(to: SocketAddr, folder: &TempDir) -> anyhow::Result<Server> {
    let address = free_port()?;
    let mut command = example("proxy")?;
    command.args(["--to", &to.to_string(), "--listen", &address.to_string(), "--idle", "60"]);
    Server::start(command, address, &folder.path().join("proxy.log"), Signal::SIGINT)
}

/// socat as a client of the address. It waits for the other direction after one has ended.
fn socat(address: SocketAddr) -> Command {
    let mut socat = program("socat");
    socat.args(["-t", "300", "-", &format!("TCP:{address}")]).stdin(Stdio::piped()).stdout(Stdio::piped());
    socat
}

/// Ctrl-C, and the end that the examples promise.
fn stop(mut server: Server) -> anyhow::Result<()> {
    server.signal(Signal::SIGINT)?;
    server.wait()
}

#[test]
fn a_gigabyte_of_socat_goes_up_through_the_proxy_and_the_answer_follows_its_half_close() -> anyhow::Result<()> {
    let (folder, address) = (TempDir::new()?, free_port()?);
    let mut hashes = program("socat");
    hashes.args([
        "-t",
        "300",
        &format!("TCP-LISTEN:{},bind=127.0.0.1,reuseaddr,fork", address.port()),
        "SYSTEM:sha256sum",
    ]);
    let server = Server::start(hashes, address, &folder.path().join("socat.log"), Signal::SIGINT)?;
    let proxy = proxy(server.address, &folder)?;

    let begun = Instant::now();
    let mut client = socat(proxy.address).spawn()?;
    let mut stdin = client.stdin.take().context("a pipe")?;
    let mut digest = Sha256::new();
    for piece in Pattern::new(GIB) {
        digest.update(&piece);
        stdin.write_all(&piece)?;
    }
    drop(stdin);
    let mut answer = String::new();
    client.stdout.take().context("a pipe")?.read_to_string(&mut answer)?;
    ensure!(client.wait()?.success(), "socat failed");

    assert_eq!(answer.split_whitespace().next(), Some(&*hex(digest)));
    saw(format!("socat through the proxy: 1 GiB up and its digest back, {:.1} s", begun.elapsed().as_secs_f64()));
    stop(proxy)
}

#[test]
fn a_gigabyte_comes_down_through_the_proxy_and_socat_answers_after_the_servers_half_close() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let proxy = proxy(listener.local_addr()?, &folder)?;
    let server = thread::spawn(move || -> anyhow::Result<String> {
        loop {
            let (mut stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(LIMIT))?;
            // Waiting for the proxy to listen makes a connection of its own, which sends nothing.
            if stream.read(&mut [0])? == 0 {
                continue;
            }
            for piece in Pattern::new(GIB) {
                stream.write_all(&piece)?;
            }
            stream.shutdown(Shutdown::Write)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            return Ok(answer);
        }
    });

    let begun = Instant::now();
    let mut client = socat(proxy.address).spawn()?;
    let mut stdin = client.stdin.take().context("a pipe")?;
    stdin.write_all(b"?")?;
    let received = digest_of(client.stdout.take().context("a pipe")?.take(GIB))?;
    stdin.write_all(b"an answer after the end")?;
    drop(stdin);
    ensure!(client.wait()?.success(), "socat failed");

    assert_eq!(received, (Pattern::new(GIB).digest(), GIB));
    assert_eq!(server.join().expect("no panic")?, "an answer after the end");
    saw(format!("socat through the proxy: 1 GiB down and an answer up, {:.1} s", begun.elapsed().as_secs_f64()));
    stop(proxy)
}

#[test]
fn nc_says_something_through_the_proxy_and_hears_it_again() -> anyhow::Result<()> {
    let (folder, address) = (TempDir::new()?, free_port()?);
    let mut echo = program("socat");
    echo.args(["-t", "300", &format!("TCP-LISTEN:{},bind=127.0.0.1,reuseaddr,fork", address.port()), "SYSTEM:cat"]);
    let server = Server::start(echo, address, &folder.path().join("socat.log"), Signal::SIGINT)?;
    let proxy = proxy(server.address, &folder)?;
    let mut nc = program("nc.openbsd");
    nc.args(["-N", "127.0.0.1", &proxy.address.port().to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());

    let mut client = nc.spawn()?;
    client.stdin.take().context("a pipe")?.write_all(b"some words\n")?;
    let mut heard = String::new();
    client.stdout.take().context("a pipe")?.read_to_string(&mut heard)?;

    ensure!(client.wait()?.success(), "nc failed");
    assert_eq!(heard, "some words\n");
    stop(proxy)
}

#[test]
fn curl_gets_a_gigabyte_of_the_file_server() -> anyhow::Result<()> {
    let (folder, files, address) = (TempDir::new()?, TempDir::new()?, free_port()?);
    let path: PathBuf = files.path().join("large");
    let mut file = std::fs::File::create(&path)?;
    Pattern::new(GIB).try_for_each(|piece| file.write_all(&piece))?;
    let mut command = example("fileserver")?;
    command.args(["--listen", &address.to_string()]).arg(files.path());
    let server = Server::start(command, address, &folder.path().join("fileserver.log"), Signal::SIGINT)?;

    let begun = Instant::now();
    let mut client = curl().arg(format!("http://{address}/large")).stdout(Stdio::piped()).spawn()?;
    let received = digest_of(client.stdout.take().context("a pipe")?)?;

    ensure!(client.wait()?.success(), "curl failed");
    assert_eq!(received, (Pattern::new(GIB).digest(), GIB));
    saw(format!("curl and the file server: 1 GiB, {:.1} s", begun.elapsed().as_secs_f64()));
    stop(server)
}
