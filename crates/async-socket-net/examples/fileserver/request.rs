//! From the text of a request to a file.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The longest head of a request.
pub(crate) const LONGEST: usize = 8192;

/// What a request is answered with.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The file and its bytes.
    File(File, u64),
    /// The same without the bytes.
    Head(u64),
    /// An error: the line of the status.
    Error(&'static str),
}

impl Answer {
    /// The head of the answer.
    pub(crate) fn head(&self) -> String {
        match self {
            Self::File(_, bytes) | Self::Head(bytes) => {
                format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\nConnection: close\r\n\r\n")
            }
            Self::Error(status) => {
                let length = status.len() + 1;
                format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{status}\n")
            }
        }
    }
}

/// Whether the head of a request is complete.
pub(crate) fn is_complete(head: &[u8]) -> bool {
    head.windows(4).any(|end| end == b"\r\n\r\n")
}

/// Finds what is asked for, in `folder`, which is canonical.
pub(crate) fn answer(head: &[u8], folder: &Path) -> Answer {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let words: Vec<_> = std::str::from_utf8(line).unwrap_or_default().split(' ').collect();
    let [method, target, version] = words[..] else { return Answer::Error("400 Bad Request") };
    let Some(path) = decoded(target).filter(|_| version.starts_with("HTTP/1.")) else {
        return Answer::Error("400 Bad Request");
    };
    match (method, open(folder, &path)) {
        ("GET", Ok((file, bytes))) => Answer::File(file, bytes),
        ("HEAD", Ok((_, bytes))) => Answer::Head(bytes),
        ("GET" | "HEAD", Err(error)) if error.kind() == io::ErrorKind::NotFound => Answer::Error("404 Not Found"),
        ("GET" | "HEAD", Err(_)) => Answer::Error("403 Forbidden"),
        _ => Answer::Error("405 Method Not Allowed"),
    }
}

/// Opens a file below the folder. A link that leads out of the folder counts as out of it.
fn open(folder: &Path, path: &Path) -> io::Result<(File, u64)> {
    let path = folder.join(path).canonicalize()?;
    if !path.starts_with(folder) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    // Opening a pipe would wait for its other end.
    if !path.metadata()?.is_file() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

/// The relative path that the target of a request names, without its query.
fn decoded(target: &str) -> Option<PathBuf> {
    let path = target.split(['?', '#']).next()?.strip_prefix('/')?;
    let mut bytes = Vec::new();
    let mut rest = path.chars();
    while let Some(next) = rest.next() {
        if next == '%' {
            let digits = [rest.next()?.to_digit(16)?, rest.next()?.to_digit(16)?];
            bytes.push(u8::try_from(digits[0] * 16 + digits[1]).ok()?);
        } else {
            bytes.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    let path = String::from_utf8(bytes).ok().filter(|path| !path.contains('\0'))?;
    // Joined to the folder, an absolute path would replace it.
    Some(PathBuf::from(path.trim_start_matches('/')))
}
