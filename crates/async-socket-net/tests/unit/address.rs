//! Addresses: what they are, and how they read.

use async_socket_net::{Address, Family, UnixAddress};
use std::net::SocketAddr;
use std::os::unix::net as unix;
use std::path::Path;

// Tests_SRS_ASYNC_SOCKET_NET_01_020
#[test]
fn an_address_reads_as_a_program_would_name_it() {
    let unnamed = UnixAddress::try_from(&unix::SocketAddr::from_pathname("").unwrap()).unwrap();
    assert!(unnamed.is_unnamed());
    let shown: Vec<String> = [
        Address::from("127.0.0.1:80".parse::<SocketAddr>().unwrap()),
        Address::from("[::1]:80".parse::<SocketAddr>().unwrap()),
        UnixAddress::of_path("/run/x.sock").unwrap().into(),
        UnixAddress::of_abstract_name(b"x\0\xff").unwrap().into(),
        unnamed.into(),
    ]
    .iter()
    .map(ToString::to_string)
    .collect();
    assert_eq!(shown, ["127.0.0.1:80", "[::1]:80", "/run/x.sock", "@x\\x00\\xff", "(unnamed)"]);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_020
#[test]
fn an_address_gives_its_parts() {
    let inet = Address::from("[::1]:80".parse::<SocketAddr>().unwrap());
    assert_eq!((inet.family(), inet.as_inet().map(|it| it.port())), (Family::V6, Some(80)));
    assert!(inet.as_unix().is_none());
    let unix = Address::from(UnixAddress::of_path("/x").unwrap());
    assert_eq!((unix.family(), unix.as_inet()), (Family::Unix, None));
    let unix = unix.as_unix().unwrap();
    assert_eq!((unix.path(), unix.abstract_name(), unix.is_unnamed()), (Some(Path::new("/x")), None, false));
    let name = UnixAddress::of_abstract_name(b"").unwrap();
    assert_eq!((name.path(), name.abstract_name(), name.is_unnamed()), (None, Some(b"".as_slice()), false));
    assert_eq!(Address::from("1.2.3.4:5".parse::<SocketAddr>().unwrap()).family(), Family::V4);
}
