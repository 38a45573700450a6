//! Other people's protocols over the streams: hyper on both sides, and tokio's traits.

use async_socket_futures::{Listener, LocalExecutor, PortTimer, Stream, block_on, spawn_local};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Answers with the body of the request.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Ok(Response::new(Full::new(body)))
}

async fn serve_http1(listener: Listener) {
    while let Ok(stream) = listener.accept().await {
        let connection =
            hyper::server::conn::http1::Builder::new().timer(PortTimer).serve_connection(stream, service_fn(answer));
        drop(spawn_local(connection).unwrap());
    }
}

async fn serve_http2(listener: Listener) {
    while let Ok(stream) = listener.accept().await {
        let connection = hyper::server::conn::http2::Builder::new(LocalExecutor)
            .timer(PortTimer)
            .serve_connection(stream, service_fn(answer));
        drop(spawn_local(connection).unwrap());
    }
}

fn listener() -> (Listener, SocketAddr) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn body(size: usize) -> Bytes {
    (0..size).map(|at| (at * 31 % 251) as u8).collect::<Vec<_>>().into()
}

fn request(body: &Bytes) -> Request<Full<Bytes>> {
    Request::post("http://localhost/").header("host", "localhost").body(Full::new(body.clone())).unwrap()
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_060
#[test]
fn hyper_speaks_http_1_with_itself_and_keeps_the_connection() {
    block_on(async {
        let (listener, address) = listener();
        drop(spawn_local(serve_http1(listener)).unwrap());
        let stream = Stream::connect(address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        drop(spawn_local(connection).unwrap());
        for size in [0, 1, 1_000, 100_000, 4_000_000] {
            let sent = body(size);
            sender.ready().await.unwrap();
            let response = sender.send_request(request(&sent)).await.unwrap();
            assert!(response.into_body().collect().await.unwrap().to_bytes() == sent, "{size} bytes");
        }
    })
    .unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_060
#[test]
fn hyper_speaks_http_2_with_itself_with_many_requests_at_once() {
    block_on(async {
        let (listener, address) = listener();
        drop(spawn_local(serve_http2(listener)).unwrap());
        let stream = Stream::connect(address).await.unwrap();
        let (sender, connection) = hyper::client::conn::http2::handshake(LocalExecutor, stream).await.unwrap();
        drop(spawn_local(connection).unwrap());
        let requests: Vec<_> = (0..20)
            .map(|number| {
                let mut sender = sender.clone();
                spawn_local(async move {
                    let sent = body(number * 7_000);
                    let response = sender.send_request(request(&sent)).await.unwrap();
                    assert!(response.into_body().collect().await.unwrap().to_bytes() == sent);
                })
                .unwrap()
            })
            .collect();
        for request in requests {
            request.await.unwrap();
        }
    })
    .unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_060
#[test]
fn a_pipelined_and_slow_client_is_served() {
    let (give, given) = std::sync::mpsc::channel();
    let client = integration_tests::spawn("the client", move || {
        let address: SocketAddr = given.recv().unwrap();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let one = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nhello";
        stream.write_all(&[&one[..], one].concat()).unwrap();
        for byte in one {
            stream.write_all(&[*byte]).unwrap();
        }
        let last = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\nconnection: close\r\n\r\nend";
        stream.write_all(last).unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        answers
    });
    let answers = block_on(async {
        let (listener, address) = listener();
        give.send(address).unwrap();
        let stream = listener.accept().await.unwrap();
        hyper::server::conn::http1::Builder::new()
            .pipeline_flush(true)
            .serve_connection(stream, service_fn(answer))
            .await
            .unwrap();
        client.join()
    })
    .unwrap();
    assert_eq!(answers.matches("hello").count(), 3);
    assert!(answers.ends_with("end"));
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_061
#[test]
fn tokios_helpers_copy_in_both_directions() {
    block_on(async {
        let (listener, address) = listener();
        let mut client = Stream::connect(address).await.unwrap();
        let server = listener.accept().await.unwrap();
        let copying = spawn_local(async move {
            let (mut from, mut to) = server.into_split();
            tokio::io::copy(&mut from, &mut to).await.unwrap()
        })
        .unwrap();
        let sent = body(50_000);
        AsyncWriteExt::write_all(&mut client, &sent).await.unwrap();
        let mut received = vec![0; sent.len()];
        AsyncReadExt::read_exact(&mut client, &mut received).await.unwrap();
        assert!(received == sent);
        AsyncWriteExt::shutdown(&mut client).await.unwrap();
        assert_eq!(copying.await.unwrap(), 50_000);
    })
    .unwrap();
}
