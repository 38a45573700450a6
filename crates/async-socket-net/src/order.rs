//! The order in which addresses are tried: RFC 8305, section 4.

use crate::address::Address;
use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;

/// Lets the two families take turns, beginning with the first address. Within a family the order stays the resolver's,
/// which has sorted by RFC 6724. An address that comes twice is tried once. `None` if there is no memory.
// Codes_SRS_ASYNC_SOCKET_NET_01_036
pub(crate) fn try_interleaved(addresses: &[SocketAddr]) -> Option<VecDeque<Address>> {
    let (mut order, mut seen) = (VecDeque::new(), HashSet::new());
    order.try_reserve_exact(addresses.len()).ok()?;
    seen.try_reserve(addresses.len()).ok()?;
    let begins_with_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let of_family = |is_v6| addresses.iter().filter(move |address| address.is_ipv6() == is_v6);
    let (mut first, mut second) = (of_family(begins_with_v6), of_family(!begins_with_v6));
    loop {
        let pair = [first.find(|address| seen.insert(**address)), second.find(|address| seen.insert(**address))];
        if pair == [None, None] {
            return Some(order);
        }
        order.extend(pair.into_iter().flatten().map(|address| Address::from(*address)));
    }
}
