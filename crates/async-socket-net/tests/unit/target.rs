//! The values that name a target.

use async_socket_net::{Address, Target, TargetError, ToTarget, UnixAddress};
use rstest::rstest;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net as unix;
use std::path::{Path, PathBuf};

fn addresses(list: &[&str]) -> Target {
    Target::Addresses(list.iter().map(|text| text.parse().expect("set-up")).collect())
}

fn address(text: &str) -> Target {
    Target::Address(text.parse().expect("set-up"))
}

fn name(host: &str, port: u16) -> Target {
    Target::Name { host: host.into(), port }
}

// Tests_SRS_ASYNC_SOCKET_NET_01_031
#[rstest]
#[case("example.org:80", name("example.org", 80))]
#[case("127.0.0.1:80", address("127.0.0.1:80"))]
#[case("[::1]:80", address("[::1]:80"))]
#[case("[fe80::1%lo]:0", name("fe80::1%lo", 0))]
fn a_text_names_a_host_and_a_port(#[case] text: &str, #[case] target: Target) {
    assert_eq!(text.to_target().unwrap(), target);
    assert_eq!(text.to_owned().to_target().unwrap(), target);
    assert_eq!((&text.to_owned()).to_target().unwrap(), target);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_031
#[rstest]
#[case("", true)]
#[case("example.org", true)]
#[case("example.org:", true)]
#[case("example.org:65536", true)]
#[case("example.org:http", true)]
#[case("::1", true)]
#[case("fe80::1:80", true)]
#[case(":80", false)]
#[case("[]:80", false)]
fn a_text_without_a_host_or_a_port_is_refused_and_named(#[case] text: &str, #[case] lacks_port: bool) {
    let error = text.to_target().unwrap_err();
    assert_eq!(matches!(error, TargetError::NoPort(_)), lacks_port, "{error}");
    assert_eq!(matches!(error, TargetError::NoHost(_)), !lacks_port, "{error}");
    assert!(error.to_string().contains(&format!("{text:?}")));
}

// Tests_SRS_ASYNC_SOCKET_NET_01_031
#[test]
fn addresses_and_lists_are_taken_as_they_are() {
    let one: SocketAddr = "10.0.0.1:1".parse().unwrap();
    let SocketAddr::V4(v4) = one else { unreachable!() };
    let SocketAddr::V6(v6) = "[::1]:1".parse().unwrap() else { unreachable!() };
    let single = address("10.0.0.1:1");
    assert_eq!(one.to_target().unwrap(), single);
    assert_eq!(v4.to_target().unwrap(), single);
    assert_eq!(Address::from(one).to_target().unwrap(), single);
    assert_eq!((Ipv4Addr::new(10, 0, 0, 1), 1).to_target().unwrap(), single);
    assert_eq!((IpAddr::from([10, 0, 0, 1]), 1).to_target().unwrap(), single);
    assert_eq!(("10.0.0.1", 1).to_target().unwrap(), single);
    assert_eq!(v6.to_target().unwrap(), address("[::1]:1"));
    assert_eq!((Ipv6Addr::LOCALHOST, 1).to_target().unwrap(), address("[::1]:1"));
    assert_eq!([one, one].to_target().unwrap(), addresses(&["10.0.0.1:1", "10.0.0.1:1"]));
    assert_eq!([one].as_slice().to_target().unwrap(), addresses(&["10.0.0.1:1"]));
    assert_eq!(("host", 1).to_target().unwrap(), name("host", 1));
    assert_eq!(single.clone().to_target().unwrap(), single);
    assert!(matches!(Vec::<SocketAddr>::new().to_target(), Err(TargetError::NoAddress)));
    assert!(matches!(("", 80).to_target(), Err(TargetError::NoHost(_))));
}

// Tests_SRS_ASYNC_SOCKET_NET_01_031
#[test]
fn paths_and_abstract_names_are_unix_sockets() {
    let by_path = UnixAddress::of_path("/run/x").unwrap();
    let by_name = UnixAddress::of_abstract_name(b"x\0y").unwrap();
    let path = Target::Unix(by_path.clone());
    assert_eq!(Path::new("/run/x").to_target().unwrap(), path);
    assert_eq!(PathBuf::from("/run/x").to_target().unwrap(), path);
    assert_eq!((&PathBuf::from("/run/x")).to_target().unwrap(), path);
    assert_eq!(Address::from(by_path).to_target().unwrap(), path);
    assert_eq!(unix::SocketAddr::from_pathname("/run/x").unwrap().to_target().unwrap(), path);
    let standard = unix::SocketAddr::from_abstract_name(b"x\0y").unwrap();
    assert_eq!(standard.to_target().unwrap(), Target::Unix(by_name));
}

// Tests_SRS_ASYNC_SOCKET_NET_01_031
#[test]
fn what_no_unix_socket_can_be_called_is_refused_and_named() {
    let long = "x".repeat(200);
    for path in ["", "a\0b", long.as_str()] {
        let error = Path::new(path).to_target().unwrap_err();
        assert!(matches!(error, TargetError::Unix { .. }), "{error}");
    }
    let unnamed = unix::SocketAddr::from_pathname("").unwrap();
    assert!(matches!(unnamed.to_target(), Err(TargetError::Unix { .. })));
}
