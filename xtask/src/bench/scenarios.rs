//! The scenarios of the comparison: each is a load and the participating servers.

use super::plural;
use super::servers::{
    EPOLL, EPOLL_AGAIN, EPOLL_ONE_SHOT, FUTURES, HYPER_FUTURES, HYPER_TOKIO, HYPER_TOKIO_AGAIN, Kind, MIO, OURS,
    OURS_C, OURS_POLLING, OURS_POOLED, SMOL, TOKIO, TOKIO_AGAIN, TOKIO_MULTI,
};

pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) family: Family,
    /// Bytes of a message, and connections.
    pub(crate) size: usize,
    pub(crate) connections: usize,
    pub(crate) participants: Vec<Participant>,
    load: Vec<String>,
}

/// Scenarios of a family share their limits and their plot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// One message under way on each connection.
    Echo,
    /// Several.
    Pipelined,
    /// One message under way, beside connections that are as busy as possible.
    Beside,
    /// One way, or both ways at the same time, as fast as possible.
    Bulk,
    Churn,
    /// HTTP requests to hyper.
    Http,
    /// Pairs of sockets within one process.
    Pairs,
    /// The same on one port and on two.
    Ports,
}

/// A server, or an engine of the program `pairs`.
#[derive(Clone, Copy)]
pub(crate) enum Participant {
    Server(Kind),
    Engine { name: &'static str, engine: &'static str, threads: usize },
}

const SERVERS: [Kind; 12] = [
    EPOLL,
    EPOLL_AGAIN,
    EPOLL_ONE_SHOT,
    OURS,
    OURS_POOLED,
    OURS_POLLING,
    OURS_C,
    FUTURES,
    MIO,
    TOKIO,
    TOKIO_MULTI,
    SMOL,
];

impl Participant {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Server(kind) => kind.name,
            Self::Engine { name, .. } => name,
        }
    }

    /// Whether this is its name, with hyphens between the words: `bare-epoll-again`.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name().replace(',', "").replace(' ', "-") == name
    }

    fn is(&self, other: Kind) -> bool {
        matches!(self, Self::Server(kind) if *kind == other)
    }
}

impl Scenario {
    /// Keeps the participants with these names, in this order.
    pub(crate) fn choose(&mut self, names: &[String]) {
        let mut all = std::mem::take(&mut self.participants);
        if all.iter().any(|it| it.is(TOKIO)) {
            all.push(Participant::Server(TOKIO_AGAIN));
        }
        self.participants = names.iter().filter_map(|name| all.iter().find(|it| it.is_called(name)).copied()).collect();
    }

    /// The arguments of the load.
    pub(crate) fn load(&self, seconds: f64) -> Vec<String> {
        let mut load = self.load.clone();
        let times = ["--seconds".to_owned(), seconds.to_string(), "--warm-up".to_owned(), (seconds / 4.0).to_string()];
        load.extend(times);
        load
    }

    /// The arguments of the server.
    pub(crate) fn server_arguments(&self) -> Vec<String> {
        let role = match self.load.iter().position(|it| it == "--mode").map(|at| self.load[at + 1].as_str()) {
            Some("send") => "sink",
            Some("duplex") => "duplex",
            _ => "echo",
        };
        ["--role", role, "--buffer", &self.size.max(64 * 1024).to_string()].map(str::to_owned).to_vec()
    }
}

/// Reads a size: `64`, `4k`, `1m`.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let (number, unit) = match text.strip_suffix(['k', 'K']) {
        Some(number) => (number, 1 << 10),
        None => text.strip_suffix(['m', 'M']).map_or((text, 1), |number| (number, 1 << 20)),
    };
    let size = number.parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
    size.filter(|&size| size > 0).ok_or_else(|| "a size is a number of bytes, for instance 64, 4k or 1m".to_owned())
}

/// Plain echoes of these sizes on these numbers of connections. Of an empty list, the usual ones.
pub(crate) fn echoes(sizes: &[usize], counts: &[usize]) -> Vec<Scenario> {
    let sizes = if sizes.is_empty() { &[64, 1024, 8192, 65536] } else { sizes };
    let counts = if counts.is_empty() { &[1, 64, 1000] } else { counts };
    let all = sizes.iter().flat_map(|&size| counts.iter().map(move |&count| (size, count)));
    all.map(|(size, count)| scenario(Family::Echo, "echo", size, count, &["--mode", "echo"])).collect()
}

/// All scenarios, or the few that fit into two minutes.
pub(crate) fn all(quick: bool) -> Vec<Scenario> {
    let mut all = Vec::new();
    let sizes = if quick { &[64, 65536][..] } else { &[64, 1024, 8192, 65536] };
    let counts = if quick { &[1, 64, 1000][..] } else { &[1, 64, 1000, 5000, 10_000] };
    for &size in sizes {
        // The quick run measures large messages with 64 connections only.
        for &connections in counts.iter().filter(|&&count| !quick || size == 64 || count == 64) {
            all.push(scenario(Family::Echo, "echo", size, connections, &["--mode", "echo"]));
        }
    }
    for &connections in if quick { &[1][..] } else { &[1, 64] } {
        let load = ["--mode", "echo", "--depth", "16"];
        all.push(scenario(Family::Pipelined, "16 echoes at once", 64, connections, &load));
    }
    if !quick {
        let load = ["--mode", "echo", "--beside", "8"];
        all.push(scenario(Family::Beside, "echo beside 8 of 64 KiB", 64, 64, &load));
    }
    for &size in if quick { &[65536][..] } else { &[65536, 1 << 20] } {
        for &connections in if quick { &[1][..] } else { &[1, 8] } {
            all.push(scenario(Family::Bulk, "one way", size, connections, &["--mode", "send"]));
            all.push(scenario(Family::Bulk, "full duplex", size, connections, &["--mode", "duplex"]));
        }
    }
    all.push(scenario(Family::Churn, "churn", 1, 64, &["--mode", "churn"]));
    let mut hello = scenario(Family::Http, "hello", 13, 64, &["--mode", "http"]);
    hello.participants = [HYPER_TOKIO, HYPER_TOKIO_AGAIN, HYPER_FUTURES].map(Participant::Server).to_vec();
    all.push(hello);
    all.push(in_process(
        Family::Pairs,
        "AF_UNIX pairs in one process",
        &[
            Participant::Engine { name: EPOLL.name, engine: "epoll", threads: 1 },
            Participant::Engine { name: EPOLL_AGAIN.name, engine: "epoll", threads: 1 },
            Participant::Engine { name: "bare epoll, recvmsg", engine: "epoll-heeding-descriptors", threads: 1 },
            Participant::Engine { name: OURS.name, engine: "ours", threads: 1 },
            Participant::Engine { name: TOKIO.name, engine: "tokio", threads: 1 },
        ],
    ));
    all.push(in_process(
        Family::Ports,
        "AF_UNIX pairs on one port and on two",
        &[
            Participant::Engine { name: "one port", engine: "ours", threads: 1 },
            Participant::Engine { name: "one port again", engine: "ours", threads: 1 },
            Participant::Engine { name: "two ports", engine: "ours", threads: 2 },
        ],
    ));
    all
}

fn scenario(family: Family, what: &str, size: usize, connections: usize, load: &[&str]) -> Scenario {
    let unit = if size >= 1024 { format!("{} KiB", size / 1024) } else { format!("{size} B") };
    let mut load: Vec<String> = load.iter().copied().map(str::to_owned).collect();
    load.extend(["--size".to_owned(), size.to_string(), "--connections".to_owned(), connections.to_string()]);
    let echoes = family != Family::Bulk;
    let servers = SERVERS.into_iter().filter(|kind| echoes || !kind.only_echoes());
    Scenario {
        name: format!("{what}, {unit}, {}", plural(connections)),
        family,
        size,
        connections,
        participants: servers.map(Participant::Server).collect(),
        load,
    }
}

fn in_process(family: Family, name: &str, participants: &[Participant]) -> Scenario {
    let load = ["--pairs", "64", "--size", "64"].map(str::to_owned).to_vec();
    Scenario { name: name.to_owned(), family, size: 64, connections: 64, participants: participants.to_vec(), load }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_may_have_a_unit() {
        assert_eq!(size("64"), Ok(64));
        assert_eq!(size("4k"), Ok(4096));
        assert_eq!(size("1M"), Ok(1 << 20));
        assert!(size("0").is_err());
        assert!(size("k").is_err());
        assert!(size("-1").is_err());
    }

    #[test]
    fn participants_are_chosen_by_name_and_the_first_one_named_comes_first() {
        let mut echoes = echoes(&[4096], &[]);
        assert_eq!(echoes.len(), 3);
        let names = ["tokio", "tokio-again", "ours-pooled", "futures", "nothing"].map(str::to_owned);
        echoes[0].choose(&names);
        let chosen: Vec<_> = echoes[0].participants.iter().map(Participant::name).collect();
        assert_eq!(chosen, ["tokio", "tokio again", "ours, pooled", "futures"]);
        assert_eq!(echoes[0].name, "echo, 4 KiB, 1 connection");
    }
}
