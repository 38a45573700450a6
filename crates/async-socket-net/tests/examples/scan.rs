//! The scan: it finds what is open, with a limit and a deadline.

use crate::scanner::{Plan, Scan};
use crate::{LIMIT, bound, engine};
use async_socket_net::ConnectErrorKind;
use rustix::net::{AddressFamily, SocketType};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

#[test]
fn the_open_ports_are_found_among_the_closed_ones() {
    let address = Ipv4Addr::new(127, 77, 0, 1);
    let bind = || std::net::TcpListener::bind((address, 0)).expect("a listener");
    let port = |listener: &std::net::TcpListener| listener.local_addr().expect("an address").port();
    let open = [(); 3].map(|()| bind());
    let closed = port(&bind());
    let all = || open.iter().map(port).chain([closed]);
    let ports = all().min().expect("four")..=all().max().expect("four");
    let plan = Plan { address: address.into(), ports: ports.clone(), at_once: 50, within: LIMIT };

    let scanned = Scan::start(&engine(), plan).wait();

    assert!(open.iter().all(|listener| scanned.open.contains(&port(listener))));
    assert!(!scanned.open.contains(&closed));
    assert_eq!((scanned.tried, scanned.failed.len()), (ports.len(), 0));
}

#[test]
fn a_port_that_does_not_answer_fails_at_its_deadline() {
    let full = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    rustix::net::bind(&full, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("bound");
    rustix::net::listen(&full, 0).expect("it listens");
    let address = SocketAddr::try_from(rustix::net::getsockname(&full).expect("its address")).expect("IPv4");
    let flags = rustix::net::SocketFlags::NONBLOCK;
    let clients = [(); 3].map(|()| {
        let client = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).expect("a socket");
        let _ = rustix::net::connect(&client, &address);
        client
    });
    let ports = address.port()..=address.port();
    let plan = Plan { address: IpAddr::from([127, 0, 0, 1]), ports, at_once: 5, within: Duration::from_millis(100) };

    let scanned = Scan::start(&engine(), plan).wait();

    assert_eq!(scanned.failed[0].1.kind(), ConnectErrorKind::TimedOut);
    drop((clients, bound()));
}
