//! The same streams under other executors: each echoes under load.

use async_socket_futures::{Engine, Listener, Stream, block_on};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

const CONNECTIONS: usize = 16;
const MESSAGES: usize = 200;

/// Starts a future on some executor.
type Spawn<'a> = dyn Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + 'a;

/// Serves echoes until `CONNECTIONS` clients have come and gone.
async fn serve(listener: Listener, spawn: &Spawn<'_>) -> io::Result<()> {
    let (tell, told) = std::sync::mpsc::channel();
    for _ in 0..CONNECTIONS {
        let stream = listener.accept().await?;
        let tell = tell.clone();
        spawn(Box::pin(async move {
            let echoed = echo(&stream).await;
            tell.send(echoed).unwrap_or_default();
        }));
    }
    drop(tell);
    // The clients run on threads of their own, so this may block until the last task of the others has ended.
    while let Some(echoed) = next(&told).await {
        echoed?;
    }
    Ok(())
}

async fn next<T>(told: &std::sync::mpsc::Receiver<T>) -> Option<T> {
    loop {
        match told.try_recv() {
            Ok(value) => return Some(value),
            Err(std::sync::mpsc::TryRecvError::Disconnected) => return None,
            Err(std::sync::mpsc::TryRecvError::Empty) => {
                async_socket_futures::sleep(std::time::Duration::from_millis(1)).await;
            }
        }
    }
}

async fn echo(stream: &Stream) -> io::Result<()> {
    let mut buffer = [0; 256];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            count => stream.write_all(&buffer[..count]).await?,
        }
    }
}

/// Clients on threads of their own. Each checks what comes back.
fn clients(address: SocketAddr) -> Vec<integration_tests::Task<io::Result<()>>> {
    let client = move |number: usize| {
        move || {
            use std::io::{Read, Write};
            let mut stream = std::net::TcpStream::connect(address)?;
            for message in 0..MESSAGES {
                let sent = vec![(number + message) as u8; 1 + message % 200];
                stream.write_all(&sent)?;
                let mut received = vec![0; sent.len()];
                stream.read_exact(&mut received)?;
                assert_eq!(received, sent);
            }
            Ok(())
        }
    };
    (0..CONNECTIONS).map(|number| integration_tests::spawn("a client", client(number))).collect()
}

fn bound() -> (Listener, SocketAddr) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn check(run: impl FnOnce(Listener)) {
    let (listener, address) = bound();
    let clients = clients(address);
    run(listener);
    clients.into_iter().for_each(|client| client.join().unwrap());
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_001, Tests_SRS_ASYNC_SOCKET_FUTURES_01_003, Tests_SRS_ASYNC_SOCKET_FUTURES_01_013
#[test]
fn under_block_on_with_local_tasks() {
    let address = std::sync::mpsc::channel();
    let serving = integration_tests::spawn("the server", move || {
        block_on(async {
            let (listener, at) = bound();
            address.0.send(at).unwrap();
            serve(listener, &|future| drop(async_socket_futures::spawn_local(future).unwrap())).await
        })
        .unwrap()
    });
    let clients = clients(address.1.recv().unwrap());
    clients.into_iter().for_each(|client| client.join().unwrap());
    serving.join().unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_002, Tests_SRS_ASYNC_SOCKET_FUTURES_01_010
#[test]
fn under_an_engine_with_two_threads() {
    let engine = Engine::builder().threads(2).build().unwrap();
    check(|listener| block_on(serve(listener, &|future| drop(engine.spawn(future)))).unwrap().unwrap());
    assert_eq!(engine.shutdown(integration_tests::LIMIT), 0);
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_030, Tests_SRS_ASYNC_SOCKET_FUTURES_01_031
#[test]
fn under_tokio_with_two_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    check(|listener| runtime.block_on(serve(listener, &|future| drop(runtime.spawn(future)))).unwrap());
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_030
#[test]
fn under_smol() {
    check(|listener| smol::block_on(serve(listener, &|future| smol::spawn(future).detach())).unwrap());
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_030
#[test]
fn under_the_executor_of_the_futures_crates() {
    let pool = futures_executor::ThreadPool::builder().pool_size(2).create().unwrap();
    check(|listener| futures_executor::block_on(serve(listener, &|future| pool.spawn_ok(future))).unwrap());
}
