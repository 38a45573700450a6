//! axum's router over the streams: on the ports of an engine through hyper, and with `axum::serve` under tokio's runtime.
//! curl is the client.

use async_socket_futures::{Engine, Listener, LocalExecutor, Stream, sleep, spawn_local};
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Json, Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use interop::pattern::{Pattern, digest_of};
use interop::process::{curl, output, program};
use std::collections::HashMap;
use std::future::IntoFuture as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const LENGTH: u64 = 64 << 20;

fn router() -> Router {
    let counted = Arc::new(AtomicUsize::new(0));
    Router::new()
        .route("/people/{name}", get(|Path(name): Path<String>| async move { format!("Hello, {name}!") }))
        .route("/count", get(|State(count): State<Arc<AtomicUsize>>| async move { count.fetch_add(1, Ordering::Relaxed).to_string() }))
        .route("/sum", post(|Json(numbers): Json<Vec<i64>>| async move { Json(numbers.iter().sum::<i64>()) }))
        .route("/word", get(|Query(query): Query<HashMap<String, String>>| async move { query.get("word").cloned().unwrap_or_default() }))
        .route("/length", post(|body: String| async move { body.len().to_string() }).layer(DefaultBodyLimit::max(100)))
        .route("/pattern", get(|| async {
            Body::from_stream(futures_util::stream::iter(Pattern::new(LENGTH).map(Ok::<_, io::Error>)))
        }))
        .with_state(counted)
}

/// Asks for all of it, by both protocols.
fn ask(address: SocketAddr) -> anyhow::Result<()> {
    let url = |path: &str| format!("http://{address}{path}");
    for (number, protocol) in ["--http1.1", "--http2-prior-knowledge"].into_iter().enumerate() {
        assert_eq!(output(curl().arg(protocol).arg(url("/people/Ada")))?, "Hello, Ada!");
        assert_eq!(output(curl().arg(protocol).arg(url("/word?word=some%20text&x=1")))?, "some text");
        assert_eq!(output(curl().arg(protocol).arg(url("/count")))?, number.to_string());
        let sum = output(curl().args([protocol, "--json", "[1, 2, 39]"]).arg(url("/sum")))?;
        assert_eq!(sum, "42");

        let status = |arguments: &[&str], path: &str| {
            let mut curl = program("curl");
            curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", protocol]).args(arguments).arg(url(path));
            output(&mut curl)
        };
        assert_eq!(status(&[], "/nothing")?, StatusCode::NOT_FOUND.as_str());
        assert_eq!(status(&["--json", "no json"], "/sum")?, StatusCode::BAD_REQUEST.as_str());
        assert_eq!(status(&["-X", "DELETE"], "/sum")?, StatusCode::METHOD_NOT_ALLOWED.as_str());
        assert_eq!(status(&["-d", &"x".repeat(101)], "/length")?, StatusCode::PAYLOAD_TOO_LARGE.as_str());

        let mut curl = curl().arg(protocol).arg(url("/pattern")).stdout(Stdio::piped()).spawn()?;
        let got = digest_of(curl.stdout.take().expect("a pipe"))?;
        assert!(curl.wait()?.success());
        assert_eq!(got, (Pattern::new(LENGTH).digest(), LENGTH));
    }
    Ok(())
}

#[test]
fn a_router_serves_on_the_ports_of_an_engine() -> anyhow::Result<()> {
    let engine = Engine::builder().threads(2).build()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (address, router) = (listener.local_addr()?, router());
    for port in 0..engine.threads() {
        let (listener, router) = (listener.try_clone()?, router.clone());
        engine.spawn_local_on(port, move || async move {
            let listener = Listener::new(listener).expect("a listener");
            while let Ok(stream) = listener.accept().await {
                let service = TowerToHyperService::new(router.clone());
                let connection =
                    async move { auto::Builder::new(LocalExecutor).serve_connection(stream, service).await };
                drop(spawn_local(connection).expect("in a task"));
            }
        })?;
    }
    ask(address)
}

/// A listener for `axum::serve`.
struct Ours(Listener);

impl axum::serve::Listener for Ours {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        loop {
            if let Ok(stream) = self.0.accept().await
                && let Ok(peer) = stream.peer_addr()
            {
                return (stream, peer);
            }
            // Until other connections have ended.
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

#[test]
fn axum_serve_takes_the_listener_under_tokio() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let address = listener.local_addr()?;
    let serving = runtime.spawn(axum::serve(Ours(listener), router()).into_future());
    ask(address)?;
    serving.abort();
    Ok(())
}
