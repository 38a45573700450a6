//! The compiler's messages to a newcomer who lends the wrong thing. Each message names the remedy.
//!
//! The test gives the snippets to the `rustc` beside the cargo that runs this test, with this crate as that cargo built
//! it. It looks only for our own words, so another compiler's layout does not matter.

use async_socket_api as _;
use rstest::rstest;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const BY_VALUE: &str = "a socket takes buffers by value, because it keeps them until the callback gives them back";
const ONE_TYPE: &str = "several buffers are a `Vec` or an array of buffers of one type, not a tuple";
const SINGLE: &str = "a socket takes a buffer by value, because it keeps the buffer until the callback gives it back";

#[rstest]
#[case::borrowed_vec("let vec = vec![1_u8]; let _ = socket.send_async(&vec, |_| {});", &[BY_VALUE, "lend `vec`, not `&vec`"])]
#[case::mutable_slice("let mut b = [0_u8; 4]; let _ = socket.send_async(&mut b[..], |_| {});", &[BY_VALUE])]
#[case::tuple("let _ = socket.send_async((\"head\", \"body\"), |_| {});", &[ONE_TYPE])]
#[case::mixed_tuple("let _ = socket.send_async((\"head\", vec![1_u8]), |_| {});", &[ONE_TYPE, "an enum that implements `IoBuf`"])]
#[case::numbers("let _ = socket.send_async(vec![1_u32], |_| {});", &["to send from", "`Vec<u8>`"])]
#[case::list_of_borrowed("let a = vec![1_u8]; let _ = socket.send_async([&a, &a], |_| {});", &["to send from"])]
#[case::option("let _ = socket.send_async(Some(vec![1_u8]), |_| {});", &["neither a buffer nor a list of buffers"])]
#[case::shared_string("let _ = socket.send_async(std::sync::Arc::new(String::new()), |_| {});", &["neither a buffer nor a list of buffers"])]
fn a_wrong_thing_to_send_is_answered_with_what_to_lend(#[case] body: &str, #[case] expected: &[&str]) {
    assert_explained(body, expected);
}

#[rstest]
#[case::borrowed_vec("let mut vec = vec![0_u8; 4]; let _ = socket.receive_async(&mut vec, |_| {});", &[BY_VALUE, "lend `vec![0; 4096]`, not `&mut vec` or `&mut [u8]`"])]
#[case::borrowed_slice("let mut b = [0_u8; 4]; let _ = socket.receive_async(&mut b[..], |_| {});", &[BY_VALUE, "not `&mut vec` or `&mut [u8]`"])]
#[case::string("let _ = socket.receive_async(String::new(), |_| {});", &["receive bytes and convert them with `String::from_utf8`"])]
#[case::shared("let _ = socket.receive_async(std::sync::Arc::new([0_u8; 4]), |_| {});", &["shared bytes (`Arc`, `&'static`) cannot be received into"])]
#[case::tuple("let _ = socket.receive_async((vec![0_u8; 4], [0_u8; 4]), |_| {});", &[ONE_TYPE])]
fn a_wrong_thing_to_receive_into_is_answered_with_what_to_lend(#[case] body: &str, #[case] expected: &[&str]) {
    assert_explained(body, expected);
}

#[rstest]
#[case::to_send("fn takes(_: impl IoBuf) {} takes((1, 2));", &[SINGLE, "`Slice` of any of them"])]
#[case::to_receive_into("fn takes(_: impl IoBufMut) {} takes(String::new());", &[SINGLE, "`String::from_utf8`"])]
#[case::socket("fn takes(_: impl AsyncSocket) {} takes(std::io::stdin());", &["is not an asynchronous socket", "AsyncSocketLinux::create(None, stream.into())"])]
fn a_wrong_argument_of_a_function_of_ones_own_is_explained_too(#[case] body: &str, #[case] expected: &[&str]) {
    assert_explained(body, expected);
}

/// Without this test, the tests above could find their words in the error of a snippet with another mistake.
#[test]
fn the_snippets_compile_with_the_right_things() {
    let right = "let _ = socket.send_async(vec![1_u8], |_| {}); let _ = socket.receive_async([0_u8; 4], |_| {});";

    let (compiled, errors) = compile(right);

    assert!(compiled, "{errors}");
}

fn assert_explained(body: &str, expected: &[&str]) {
    let (compiled, errors) = compile(body);

    assert!(!compiled, "it compiles:\n{body}");
    for words in expected {
        assert!(errors.contains(words), "not a word of \"{words}\" in:\n{errors}");
    }
}

/// Whether the body of a function compiles, and the compiler's output.
fn compile(body: &str) -> (bool, String) {
    let dependencies = dependencies();
    let snippet = format!(
        "#![allow(unused)]\nuse async_socket_api::*;\npub fn snippet(socket: &impl AsyncSocket) {{\n    {body}\n}}\n"
    );
    // The metadata goes to standard output, which is discarded. As root, `-o /dev/null` would replace the device by a
    // file.
    let mut rustc = Command::new(rustc())
        .args(["--edition=2024", "--crate-type=lib", "--crate-name=snippet", "--emit=metadata=-"])
        .arg("--extern")
        .arg(format!("async_socket_api={}", this_crate(&dependencies).display()))
        .arg("-L")
        .arg(format!("dependency={}", dependencies.display()))
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a compiler beside cargo");
    rustc.stdin.take().expect("piped").write_all(snippet.as_bytes()).expect("the compiler reads");
    let output = rustc.wait_with_output().expect("the compiler ends");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The compiler that belongs to the cargo that built this.
fn rustc() -> PathBuf {
    let beside_cargo = Path::new(env!("CARGO")).with_file_name("rustc");
    env::var_os("RUSTC").map(PathBuf::from).unwrap_or(if beside_cargo.exists() { beside_cargo } else { "rustc".into() })
}

/// Where cargo puts what this test is linked with.
fn dependencies() -> PathBuf {
    let test = env::current_exe().expect("this program has a path");
    test.parent().expect("it is in a folder").to_owned()
}

/// The newest build of this crate. There may be several, for instance with other features.
fn this_crate(dependencies: &Path) -> PathBuf {
    let builds = fs::read_dir(dependencies).expect("cargo's folder").filter_map(Result::ok).map(|entry| entry.path());
    let ours = |path: &PathBuf| {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        name.starts_with("libasync_socket_api-") && name.ends_with(".rlib")
    };
    builds
        .filter(ours)
        .max_by_key(|path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok())
        .expect("cargo built this crate to link this test with it")
}
