//! The file server: whole files, and nothing from outside its folder.

use crate::connection::{FileServer, Limits};
use crate::{LIMIT, bound, connected, engine, pattern};
use rstest::rstest;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const LIMITS: Limits = Limits { request: LIMIT, idle: LIMIT };

/// A folder of a test's own, with a file outside of what is served.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("fileserver-{}-{number}", std::process::id()));
        fs::create_dir_all(folder.join("public/below")).expect("a folder");
        fs::write(folder.join("secret"), "secret").expect("a file");
        std::os::unix::fs::symlink("../secret", folder.join("public/link")).expect("a link");
        fs::write(folder.join("public/a b.txt"), "hello").expect("a file");
        Self(folder.canonicalize().expect("a folder"))
    }

    fn serve(&self, limits: Limits) -> FileServer {
        FileServer::start(&engine(), bound(), self.0.join("public"), limits).expect("a server")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The status line and the body of an answer.
fn ask(server: &FileServer, request: &str) -> (String, Vec<u8>) {
    let mut stream = connected(server.address());
    stream.write_all(request.as_bytes()).expect("the server reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the end in time");
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n").expect("a head");
    let status = String::from_utf8_lossy(&answer[..head]).lines().next().unwrap_or_default().to_owned();
    (status, answer[head + 4..].to_vec())
}

#[rstest]
#[case("GET /a%20b.txt HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK", "hello")]
#[case("GET //a%20b.txt?query HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK", "hello")]
#[case("HEAD /a%20b.txt HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK", "")]
#[case("GET /nothing HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found", "404 Not Found\n")]
#[case("GET /below HTTP/1.1\r\n\r\n", "HTTP/1.1 403 Forbidden", "403 Forbidden\n")]
#[case("GET /../secret HTTP/1.1\r\n\r\n", "HTTP/1.1 403 Forbidden", "403 Forbidden\n")]
#[case("GET /%2e%2e/secret HTTP/1.1\r\n\r\n", "HTTP/1.1 403 Forbidden", "403 Forbidden\n")]
#[case("GET /link HTTP/1.1\r\n\r\n", "HTTP/1.1 403 Forbidden", "403 Forbidden\n")]
#[case("GET //etc/passwd HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found", "404 Not Found\n")]
#[case("GET /%00 HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request", "400 Bad Request\n")]
#[case("GET /%+1 HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request", "400 Bad Request\n")]
#[case("GET nothing\r\n\r\n", "HTTP/1.1 400 Bad Request", "400 Bad Request\n")]
#[case("PUT /a%20b.txt HTTP/1.1\r\n\r\n", "HTTP/1.1 405 Method Not Allowed", "405 Method Not Allowed\n")]
fn a_request_is_answered(#[case] request: &str, #[case] status: &str, #[case] body: &str) {
    let folder = Folder::new();
    let server = folder.serve(LIMITS);

    assert_eq!(ask(&server, request), (status.to_owned(), body.as_bytes().to_vec()));

    assert_eq!(server.end(LIMIT), (1, 0));
}

#[test]
fn large_files_arrive_whole_at_many_clients_at_once() {
    const BYTES: usize = 5_000_001;
    let folder = Folder::new();
    fs::write(folder.0.join("public/large"), pattern(BYTES)).expect("a file");
    let server = folder.serve(LIMITS);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let (_, body) = ask(&server, "GET /large HTTP/1.1\r\n\r\n");
                assert!(body == pattern(BYTES), "the whole file arrives");
            });
        }
    });
    assert_eq!(server.end(LIMIT), (8, 0));
}

#[test]
fn a_request_may_come_in_pieces_but_not_for_ever() {
    let folder = Folder::new();
    let server = folder.serve(LIMITS);
    let mut stream = connected(server.address());
    for piece in ["GET /a%20b", ".txt HTT", "P/1.1\r\n\r", "\n"] {
        stream.write_all(piece.as_bytes()).expect("the server reads");
        thread::sleep(Duration::from_millis(5));
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the end in time");
    assert!(answer.ends_with("\r\n\r\nhello"));

    let server = folder.serve(Limits { request: Duration::from_millis(100), idle: LIMIT });
    let mut slow = connected(server.address());
    slow.write_all(b"GET /").expect("the server reads");
    assert_eq!(slow.read(&mut [0]).expect("the end in time"), 0);
    let (status, _) = ask(&server, &format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(8190)));
    assert!(status.contains(" 404 ") || status.contains(" 403 ") || status.contains(" 431 "), "{status}");
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    let folder = Folder::new();
    fs::write(folder.0.join("public/large"), pattern(64 << 20)).expect("a file");
    let server = folder.serve(Limits { request: LIMIT, idle: Duration::from_millis(200) });
    let mut stream = connected(server.address());
    stream.write_all(b"GET /large HTTP/1.1\r\n\r\n").expect("the server reads");

    // It ends by itself long before the deadline.
    assert_eq!(server.end(LIMIT), (0, 0));
}
