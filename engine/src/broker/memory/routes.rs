//! Who listens on which subjects: an immutable table, replaced as a whole when somebody comes or goes.
//!
//! A tree of tokens; wildcards are branches of it. Readers hold a snapshot and take no lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};

use super::subscription::Queue;
use crate::message::HandlerId;

/// Who one subject goes to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Route {
    /// Handlers, each once, in the order of their places.
    pub(crate) handlers: Vec<HandlerId>,
    /// Subscriptions, each once.
    pub(crate) subscriptions: Vec<Arc<Queue>>,
}

/// Numbers the tables of this process: one thread may publish to several engines.
static TABLES: AtomicU64 = AtomicU64::new(0);

/// The present table, and its number, by which a thread sees cheaply that it is still the one that it knows.
#[derive(Debug)]
pub(crate) struct Present {
    table: ArcSwap<Routes>,
    number: AtomicU64,
}

impl Present {
    /// Begins with this table.
    pub(crate) fn new(table: Routes) -> Self {
        let present = Self {
            table: ArcSwap::from_pointee(table),
            number: AtomicU64::default(),
        };
        present.count();
        present
    }

    /// Replaces the table. Whoever changes it holds a lock meanwhile.
    pub(crate) fn replace(&self, table: Routes) {
        self.table.store(Arc::new(table));
        self.count();
    }

    /// The table.
    pub(crate) fn table(&self) -> Guard<Arc<Routes>> {
        self.table.load()
    }

    /// Gives the table a number of its own, from 1 on. Who sees the number sees the table too.
    fn count(&self) {
        let number = TABLES.fetch_add(1, Ordering::Relaxed) + 1;
        self.number.store(number, Ordering::Release);
    }
}

/// The route that was found last: guests mostly send to one subject. Good for the table that it was found in.
#[derive(Debug, Default)]
pub(crate) struct LastRoute {
    /// The table's number; 0 before there is any.
    table: u64,
    subject: String,
    route: Route,
}

impl LastRoute {
    /// Who a checked subject goes to by the present table.
    pub(crate) fn find(&mut self, routes: &Present, subject: &str) -> &Route {
        let table = routes.number.load(Ordering::Acquire);
        if self.table != table || self.subject != subject {
            self.subject.clear();
            self.subject.push_str(subject);
            // A table that has come since is found here already, and its number the next time.
            routes.table().find(subject, &mut self.route);
            self.table = table;
        }
        &self.route
    }
}

impl Route {
    /// Empties it; its room is used again.
    fn clear(&mut self) {
        self.handlers.clear();
        self.subscriptions.clear();
    }

    fn add(&mut self, listener: &Listener) {
        match listener {
            Listener::Handler(id) => {
                if let Err(place) = self.handlers.binary_search(id) {
                    self.handlers.insert(place, *id);
                }
            }
            Listener::Subscription(queue) => self.subscriptions.push(Arc::clone(queue)),
        }
    }
}

/// Somebody who listens.
#[derive(Debug, Clone)]
pub(crate) enum Listener {
    /// A handler: all its shards together.
    Handler(HandlerId),
    /// A subscription of an embedder or a guest.
    Subscription(Arc<Queue>),
}

/// One token's place in the tree.
#[derive(Debug, Default)]
struct Node {
    tokens: HashMap<Box<str>, Node>,
    /// The branch of `*`.
    any: Option<Box<Node>>,
    /// Who listens with `>` from here on.
    rest: Vec<Listener>,
    /// Who listens on exactly this subject.
    here: Vec<Listener>,
}

impl Node {
    fn insert(&mut self, pattern: &str, listener: Listener) {
        if pattern == ">" {
            return self.rest.push(listener);
        }
        let (token, rest) = split(pattern);
        let next = match token {
            "*" => self.any.get_or_insert_default(),
            token => self.tokens.entry(token.into()).or_default(),
        };
        match rest {
            Some(rest) => next.insert(rest, listener),
            None => next.here.push(listener),
        }
    }

    fn find(&self, subject: &str, route: &mut Route) {
        self.rest.iter().for_each(|l| route.add(l));
        let (token, rest) = split(subject);
        for next in [self.tokens.get(token), self.any.as_deref()]
            .into_iter()
            .flatten()
        {
            match rest {
                Some(rest) => next.find(rest, route),
                None => next.here.iter().for_each(|l| route.add(l)),
            }
        }
    }
}

fn split(subject: &str) -> (&str, Option<&str>) {
    match subject.split_once('.') {
        Some((token, rest)) => (token, Some(rest)),
        None => (subject, None),
    }
}

/// The table of one moment.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    root: Node,
    has_subscriptions: bool,
}

impl Routes {
    /// A table of these listeners and their checked patterns.
    pub(crate) fn new(listeners: impl Iterator<Item = (String, Listener)>) -> Self {
        let mut table = Self::default();
        for (pattern, listener) in listeners {
            table.has_subscriptions |= matches!(listener, Listener::Subscription(_));
            table.root.insert(&pattern, listener);
        }
        table
    }

    /// Whether any of them is a subscription: without one, what leaves the process needs no route.
    pub(crate) fn has_subscriptions(&self) -> bool {
        self.has_subscriptions
    }

    /// Who a checked subject goes to: whoever listens with several patterns gets it once, subscriptions once a pattern.
    fn find(&self, subject: &str, route: &mut Route) {
        route.clear();
        self.root.find(subject, route);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::matches;
    use proptest::prelude::*;

    fn found(routes: &Routes, subject: &str) -> Route {
        let mut route = Route::default();
        routes.find(subject, &mut route);
        route
    }

    fn routes(patterns: &[String]) -> Routes {
        let listeners = patterns
            .iter()
            .cloned()
            .zip((0..).map(|i| Listener::Handler(HandlerId(i))));
        Routes::new(listeners)
    }

    #[test]
    fn the_last_route_is_that_of_the_present_table_and_of_its_engine() {
        let table =
            |patterns: &[&str]| routes(&patterns.iter().map(|p| p.to_string()).collect::<Vec<_>>());
        let (one, other) = (
            Present::new(table(&["a"])),
            Present::new(table(&["b", "a"])),
        );
        let mut last = LastRoute::default();
        for _ in 0..2 {
            assert_eq!(last.find(&one, "a").handlers, [HandlerId(0)]);
            assert_eq!(last.find(&other, "a").handlers, [HandlerId(1)]);
            assert_eq!(last.find(&other, "b").handlers, [HandlerId(0)]);
        }
        assert_eq!(last.find(&one, "a").handlers, [HandlerId(0)]);
        one.replace(table(&["b"]));
        assert!(last.find(&one, "a").handlers.is_empty(), "the old table's");
    }

    #[test]
    fn a_handler_with_two_patterns_gets_a_message_once() {
        let one = |p: &str| (p.to_owned(), Listener::Handler(HandlerId(3)));
        let routes = Routes::new(["a.*", "a.b", ">"].map(one).into_iter());
        assert_eq!(found(&routes, "a.b").handlers, [HandlerId(3)]);
    }

    proptest! {
        #[test]
        fn the_tree_finds_whom_the_patterns_match(
            patterns in prop::collection::vec("([ab*]\\.){0,3}[ab*>]", 0..12), subject in "([ab]\\.){0,4}[ab]",
        ) {
            let found = found(&routes(&patterns), &subject).handlers;
            let expected: Vec<_> = patterns.iter().zip(0..).filter(|(p, _)| matches(p, &subject)).map(|(_, i)| HandlerId(i)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
