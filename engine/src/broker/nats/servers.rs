//! The servers that a connection may be made to: which is next, and when.
//!
//! Pure: handed the time and a seed. Each server has its own delay, which doubles with each failure; so one that is gone does
//! not keep the others waiting, and one that comes back is found.

use std::time::Duration;

use crate::outcome::{Jitter, Policy};
use crate::time::Instant;

use super::url::ServerUrl;

/// How servers are tried, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerLimits {
    /// Servers known at once, those that servers told of included. Default 64: more than a cluster has. More that are told of
    /// are left out.
    pub servers_max: usize,
    /// Delay after a server's first failure; it doubles with each. Default 50 ms, about what a server needs to restart; a random
    /// half to whole of it is waited.
    pub retry_delay_first: Duration,
    /// Longest such delay. Default 5 s: an outage is over for everybody 5 s after its end at the latest. A server that refuses
    /// our credentials, or whose certificate is not good, is at it at once.
    pub retry_delay_max: Duration,
    /// Whether servers that servers tell of (`connect_urls` in INFO) are used. Default `true`.
    pub discover: bool,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            servers_max: 64,
            retry_delay_first: Duration::from_millis(50),
            retry_delay_max: Duration::from_secs(5),
            discover: true,
        }
    }
}

/// What became of a server that was connected to or tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It was not reached, or failed.
    Failed,
    /// It refused us in a way that will hardly change soon.
    Refused,
    /// It was left, since it is going to stop.
    Left,
}

/// One server.
#[derive(Debug, Clone)]
struct Server {
    url: ServerUrl,
    /// Whether it was told of, not configured.
    discovered: bool,
    failures: u32,
    /// Whether it refused us the last time.
    refused: bool,
    /// Not before this.
    ready: Option<Instant>,
}

/// Which server is next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pick {
    /// This one, now.
    Dial(ServerUrl),
    /// None before this time.
    Wait(Instant),
}

/// The servers, in the order in which they are tried; the one at `current` is being tried or connected to.
#[derive(Debug)]
pub(crate) struct Servers {
    known: Vec<Server>,
    current: usize,
    limits: ServerLimits,
    jitter: Jitter,
}

impl Servers {
    /// The configured servers, at least one. The seed says which is first: connections of seeds that follow one another
    /// spread evenly.
    pub(crate) fn new(urls: &[ServerUrl], limits: ServerLimits, seed: u64) -> Self {
        assert!(!urls.is_empty(), "a connection has a server to connect to");
        let known: Vec<Server> = urls
            .iter()
            .map(|url| Server::new(url.clone(), false))
            .collect();
        let first = (seed % known.len() as u64) as usize;
        Self {
            // The first pick is of the server behind the current one.
            current: (first + known.len() - 1) % known.len(),
            known,
            limits,
            jitter: Jitter::new(seed),
        }
    }

    /// The server to connect to now: the next in turn that is ready; if none is, when one will be.
    pub(crate) fn pick(&mut self, now: Instant) -> Pick {
        let count = self.known.len();
        let turn = (1..=count).map(|step| (self.current + step) % count);
        let ready = |i: &usize| self.known[*i].ready.is_none_or(|at| at <= now);
        if let Some(next) = turn.clone().find(ready) {
            self.current = next;
            return Pick::Dial(self.known[next].url.clone());
        }
        let first = self.known.iter().filter_map(|server| server.ready).min();
        Pick::Wait(first.expect("none is ready, so each has a time"))
    }

    /// The current server is over. One that was live for as long as the longest delay counts as one that never failed.
    pub(crate) fn over(&mut self, end: End, lived: Option<Duration>, now: Instant) {
        let (first, max) = (self.limits.retry_delay_first, self.limits.retry_delay_max);
        let server = &mut self.known[self.current];
        if lived.is_some_and(|lived| lived >= max) {
            server.failures = 0;
        }
        server.failures = server.failures.saturating_add(1);
        server.refused = end == End::Refused;
        let (failures, delay_first) = match end {
            End::Failed => (server.failures, first),
            End::Refused | End::Left => (1, max),
        };
        let policy = Policy {
            deliveries_max: u32::MAX,
            delay_first,
            delay_max: max,
        };
        server.ready = Some(now + policy.delay(failures, &mut self.jitter));
    }

    /// Takes up the servers that the current one tells of, in place of those that were told of before. How many were left out
    /// since there are too many, or are no URLs.
    pub(crate) fn discovered(&mut self, told: &[String]) -> usize {
        if !self.limits.discover || told.is_empty() {
            return 0;
        }
        let from = self.known[self.current].url.clone();
        let mut left_out = 0;
        let mut fresh: Vec<ServerUrl> = Vec::new();
        for text in told.iter().take(self.limits.servers_max) {
            match ServerUrl::parse(text) {
                Ok(url) => fresh.push(told_by(&from, url)),
                Err(_) => left_out += 1,
            }
        }
        left_out += told.len().saturating_sub(self.limits.servers_max);
        self.forget_all_but(&fresh, &from);
        for url in fresh {
            let known = self.known.iter().any(|s| s.url.same_place(&url));
            match known {
                true => {}
                false if self.known.len() < self.limits.servers_max => {
                    self.known.push(Server::new(url, true));
                }
                false => left_out += 1,
            }
        }
        left_out
    }

    /// Forgets servers that were told of and no longer are; never the current one.
    fn forget_all_but(&mut self, fresh: &[ServerUrl], current: &ServerUrl) {
        self.known.retain(|server| {
            let told = fresh.iter().any(|url| url.same_place(&server.url));
            !server.discovered || told || server.url.same_place(current)
        });
        let at = self.known.iter().position(|s| s.url.same_place(current));
        self.current = at.expect("the current server is kept");
    }

    /// Whether there is another server that may be tried now.
    pub(crate) fn has_other(&self, now: Instant) -> bool {
        let others = self.known.iter().enumerate();
        others
            .filter(|(i, _)| *i != self.current)
            .any(|(_, server)| server.ready.is_none_or(|at| at <= now))
    }

    /// Whether every one has refused us the last time that it was tried.
    pub(crate) fn all_refused(&self) -> bool {
        self.known.iter().all(|server| server.refused)
    }

    /// How many are known.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}

impl Server {
    fn new(url: ServerUrl, discovered: bool) -> Self {
        Self {
            url,
            discovered,
            failures: 0,
            refused: false,
            ready: None,
        }
    }
}

/// A server that another tells of: spoken to in the same way. It is known by an address often, which its certificate need not
/// have, so that must have the name of the server that told of it.
fn told_by(from: &ServerUrl, url: ServerUrl) -> ServerUrl {
    let by_address = url.address().is_some();
    ServerUrl {
        tls: from.tls || url.tls,
        tls_name: by_address.then(|| from.certified_name().to_owned()),
        auth: from.auth.clone(),
        ..url
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);
    const START: Instant = Instant::after_start(Duration::ZERO);

    fn servers(list: &str, seed: u64) -> Servers {
        let urls = ServerUrl::parse_list(list).unwrap();
        Servers::new(&urls, ServerLimits::default(), seed)
    }

    fn dialled(servers: &mut Servers, now: Instant) -> String {
        match servers.pick(now) {
            Pick::Dial(url) => url.host,
            Pick::Wait(at) => panic!("none before {at:?}"),
        }
    }

    fn waits(servers: &mut Servers, now: Instant) -> Duration {
        match servers.pick(now) {
            Pick::Wait(at) => at - now,
            Pick::Dial(url) => panic!("{url} is ready"),
        }
    }

    #[test]
    fn seeds_spread_over_the_servers_and_each_goes_round() {
        for (seed, order) in [(0, "abc"), (1, "bca"), (2, "cab"), (3, "abc")] {
            let mut servers = servers("a,b,c", seed);
            let mut tried = String::new();
            for _ in 0..3 {
                tried += &dialled(&mut servers, START);
                servers.over(End::Failed, None, START);
            }
            assert_eq!(tried, order);
            assert!(waits(&mut servers, START) <= 50 * MS);
        }
    }

    #[test]
    fn delays_double_to_their_limit() {
        let mut servers = servers("a", 7);
        let mut now = START;
        for whole in [50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
            dialled(&mut servers, now);
            servers.over(End::Failed, None, now);
            let delay = waits(&mut servers, now);
            assert!(delay >= whole * MS / 2 && delay <= whole * MS, "{delay:?}");
            now += delay;
        }
    }

    #[test]
    fn only_a_long_life_makes_failures_forgotten() {
        let mut servers = servers("a", 7);
        for _ in 0..20 {
            servers.over(End::Failed, Some(4_999 * MS), START);
        }
        assert!(waits(&mut servers, START) >= 2_500 * MS);
        servers.over(End::Failed, Some(5_000 * MS), START);
        assert!(waits(&mut servers, START) <= 50 * MS);
    }

    #[test]
    fn who_refuses_us_or_is_stopping_is_tried_last() {
        for end in [End::Refused, End::Left] {
            let mut servers = servers("a,b", 0);
            assert_eq!(dialled(&mut servers, START), "a");
            assert!(servers.has_other(START));
            servers.over(end, None, START);
            assert_eq!(dialled(&mut servers, START), "b");
            assert!(!servers.has_other(START));
            servers.over(End::Failed, None, START);
            assert!(waits(&mut servers, START) <= 50 * MS, "b is first again");
            let later = START + 100 * MS;
            assert_eq!(dialled(&mut servers, later), "b");
            servers.over(End::Failed, None, later);
            assert_eq!(dialled(&mut servers, START + 5_000 * MS), "a");
        }
    }

    #[test]
    fn what_a_server_tells_of_replaces_what_was_told_before() {
        let mut servers = servers("tls://me:hidden@a,b", 0);
        dialled(&mut servers, START);
        assert_eq!(
            servers.discovered(&["10.0.0.1:1".into(), "c:2".into(), "b:4222".into()]),
            0
        );
        assert_eq!(servers.len(), 4);
        let told = servers.known[2].url.clone();
        assert_eq!(
            (told.to_string().as_str(), told.certified_name()),
            ("tls://10.0.0.1:1", "a")
        );
        assert!(told.auth.is_some());
        assert_eq!(servers.known[3].url.certified_name(), "c");
        // Connected to a server that was told of, which no longer names itself: it stays.
        servers.current = 3;
        assert_eq!(servers.discovered(&["d".into()]), 0);
        let left: Vec<_> = servers.known.iter().map(|s| s.url.host.as_str()).collect();
        assert_eq!((left, servers.current), (vec!["a", "b", "c", "d"], 2));
        assert_eq!(servers.discovered(&[]), 0);
        assert_eq!(servers.len(), 4);
    }

    #[test]
    fn what_is_told_is_bounded_and_may_be_ignored() {
        let told: Vec<String> = (1..=100).map(|port| format!("x:{port}")).collect();
        let mut few = servers("a", 0);
        assert_eq!(few.discovered(&told), 37);
        assert_eq!(few.len(), 64);
        let mut bad = servers("a", 0);
        assert_eq!(bad.discovered(&["no url".into(), "y".into()]), 1);
        let urls = ServerUrl::parse_list("a").unwrap();
        let limits = ServerLimits {
            discover: false,
            ..ServerLimits::default()
        };
        let mut none = Servers::new(&urls, limits, 0);
        assert_eq!((none.discovered(&told), none.len()), (0, 1));
    }

    proptest! {
        #[test]
        fn there_is_always_a_next_within_the_longest_delay(
            count in 1usize..5, seed: u64, steps in proptest::collection::vec((0u8..4, 0u64..6_000, 1u16..9), 1..60)
        ) {
            let list: Vec<String> = (0..count).map(|i| format!("s{i}")).collect();
            let mut servers = servers(&list.join(","), seed);
            let mut now = START;
            for (step, ms, port) in steps {
                now += Duration::from_millis(ms);
                if let Pick::Wait(at) = servers.pick(now) {
                    prop_assert!(at > now && at - now <= Duration::from_secs(5));
                    now = at;
                    prop_assert!(matches!(servers.pick(now), Pick::Dial(_)));
                }
                match step {
                    0 => servers.over(End::Failed, None, now),
                    1 => servers.over(End::Refused, None, now),
                    2 => servers.over(End::Left, Some(Duration::from_millis(ms)), now),
                    _ => { servers.discovered(&[format!("t:{port}"), format!("u:{port}")]); }
                }
                prop_assert!(servers.len() >= count && servers.len() <= count + 3);
                prop_assert!(servers.current < servers.len());
            }
        }
    }
}
