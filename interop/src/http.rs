//! An HTTP server: hyper over the streams, on two ports.

use crate::pattern::{Pattern, hex};
use async_socket_futures::{Engine, Listener, LocalExecutor, PortTimer, Stream, spawn_local};
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::server::conn::auto;
use sha2::{Digest as _, Sha256};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};

/// A body of any kind.
pub type AnyBody = UnsyncBoxBody<Bytes, hyper::Error>;

/// The ports that serve.
const THREADS: usize = 2;

/// hyper as a server over the streams. Dropping it ends its connections.
#[derive(Debug)]
pub struct HyperServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// How each connection has ended.
    pub ended: Receiver<Result<(), String>>,
    engine: Engine,
}

impl HyperServer {
    /// Begins to serve on a free port, HTTP/1.1 or HTTP/2, as each client begins.
    ///
    /// # Errors
    /// If no port or no thread can be had.
    pub fn start() -> anyhow::Result<Self> {
        let engine = Engine::builder().threads(THREADS).build()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let (sender, ended) = channel();
        for port in 0..engine.threads() {
            let (listener, sender) = (listener.try_clone()?, sender.clone());
            engine.spawn_local_on(port, move || async move {
                accept(listener, sender).await.expect("accept goes on");
            })?;
        }
        Ok(Self { address, ended, engine })
    }

    /// The address of a page.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The engine that serves.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}

async fn accept(listener: TcpListener, ended: Sender<Result<(), String>>) -> io::Result<()> {
    let listener = Listener::new(listener)?;
    loop {
        let (stream, ended) = (listener.accept().await?, ended.clone());
        let connection = async move {
            let end = serve(stream).await.map_err(|error| error.to_string());
            // Only some tests ask for it.
            let _ = ended.send(end);
        };
        drop(spawn_local(connection).map_err(io::Error::other)?);
    }
}

async fn serve(stream: Stream) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut builder = auto::Builder::new(LocalExecutor);
    // Not with `pipeline_flush`: hyper then holds all of a body that is ready.
    builder.http1().timer(PortTimer).half_close(true);
    builder.http2().timer(PortTimer);
    builder.serve_connection(stream, service_fn(answer)).await
}

/// Answers a request:
///
/// | Path | Answer |
/// |---|---|
/// | `/hello` | a few bytes |
/// | `/pattern/N` | the first N bytes of the pattern |
/// | `/number/N` | N |
/// | `/echo` | the body of the request, as it comes |
/// | `/digest` | the digest of the body of the request |
///
/// # Errors
/// Those of the body of the request.
pub async fn answer(request: Request<Incoming>) -> Result<Response<AnyBody>, hyper::Error> {
    let path = request.uri().path().to_owned();
    Ok(match (request.method(), path.as_str()) {
        (&Method::GET, "/hello") => Response::new(full("Hello, World!")),
        (&Method::POST | &Method::PUT, "/echo") => Response::new(request.into_body().boxed_unsync()),
        (&Method::POST | &Method::PUT, "/digest") => {
            let (mut digest, mut body) = (Sha256::new(), request.into_body());
            while let Some(frame) = body.frame().await {
                if let Some(data) = frame?.data_ref() {
                    digest.update(data);
                }
            }
            Response::new(full(hex(digest)))
        }
        (&Method::GET, path) => match path.rsplit_once('/') {
            Some(("/pattern", number)) if number.parse::<u64>().is_ok() => {
                Response::new(pattern(number.parse().unwrap_or_default()))
            }
            Some(("/number", number)) => Response::new(full(number.to_owned())),
            _ => status(StatusCode::NOT_FOUND),
        },
        _ => status(StatusCode::METHOD_NOT_ALLOWED),
    })
}

fn status(status: StatusCode) -> Response<AnyBody> {
    let mut response = Response::new(full(""));
    *response.status_mut() = status;
    response
}

/// A body that is there at once.
pub fn full(bytes: impl Into<Bytes>) -> AnyBody {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A body that is made piece by piece.
#[must_use]
pub fn pattern(length: u64) -> AnyBody {
    let frames = Pattern::new(length).map(|piece| Ok(Frame::data(piece)));
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}
