//! The order in which addresses are tried: RFC 8305, section 4.

use crate::address::Address;
use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;

/// Lets the two families take turns, beginning with the first address. Within a family the order stays the resolver's,
/// which has sorted by RFC 6724. An address that comes twice is tried once.
// Codes_SRS_ASYNC_SOCKET_NET_01_036
pub(crate) fn interleaved(addresses: Vec<SocketAddr>) -> VecDeque<Address> {
    let begins_with_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let mut seen = HashSet::new();
    let unique = addresses.into_iter().filter(|address| seen.insert(*address));
    let (v6, v4): (VecDeque<_>, VecDeque<_>) = unique.partition(SocketAddr::is_ipv6);
    let (mut one, mut other) = if begins_with_v6 { (v6, v4) } else { (v4, v6) };
    let mut order = VecDeque::with_capacity(one.len() + other.len());
    while !one.is_empty() || !other.is_empty() {
        order.extend(one.pop_front().map(Address::from));
        order.extend(other.pop_front().map(Address::from));
    }
    order
}
