//! The order in which addresses are tried: RFC 8305, section 4.

use crate::address::Address;
use crate::few::Few;
use std::collections::HashSet;
use std::net::SocketAddr;

/// Lets the two families take turns, beginning with the first address. Within a family the order stays the resolver's,
/// which has sorted by RFC 6724. An address that comes twice is tried once. `None` if there is no memory.
// Codes_SRS_ASYNC_SOCKET_NET_01_036
pub(crate) fn try_interleaved(addresses: &[SocketAddr]) -> Option<Few<Address>> {
    let (mut order, mut seen) = (Few::with_room_for(addresses.len())?, HashSet::new());
    seen.try_reserve(addresses.len()).ok()?;
    let begins_with_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let of_family = |is_v6| addresses.iter().filter(move |address| address.is_ipv6() == is_v6);
    let (mut first, mut second) = (of_family(begins_with_v6), of_family(!begins_with_v6));
    loop {
        let pair = [first.find(|address| seen.insert(**address)), second.find(|address| seen.insert(**address))];
        if pair == [None, None] {
            return Some(order);
        }
        pair.into_iter().flatten().for_each(|address| order.push(Address::from(*address)));
    }
}
