//! Requests of one shard's guests that wait: all are answered to one inbox, and told apart by the last token of the reply subject.
//!
//! Owns the table of these. Knows no connection: a lost one ends them all, since replies sent meanwhile are gone.

use std::collections::HashMap;
use std::sync::Arc;

use super::takes::{Subscribed, Use};
use super::wire::parse::Incoming;
use crate::broker::memory::replies::Answers;
use crate::error::Refusal;

/// The status by which a server says that nobody listens.
const NO_RESPONDERS: u16 = 503;

/// The requests of one shard's guests that wait. As many as guests have made: their number is bounded where they are made.
#[derive(Debug)]
pub(crate) struct Requests {
    /// What the reply subjects begin with.
    prefix: String,
    open: HashMap<u64, Asked>,
    /// Whether the inbox is subscribed: it is with the first request.
    pub(crate) listens: bool,
}

#[derive(Debug)]
struct Asked {
    subject: String,
    answers: Arc<Answers>,
}

impl Requests {
    /// None waits; their reply subjects begin with `prefix`, which ends with a dot.
    pub(crate) fn new(prefix: String) -> Self {
        Self {
            prefix,
            open: HashMap::new(),
            listens: false,
        }
    }

    /// The subscription that all replies come on.
    pub(crate) fn inbox(&self) -> Subscribed {
        Subscribed {
            pattern: format!("{}*", self.prefix),
            queue: None,
            use_: Use::Requests,
        }
    }

    /// Opens one of this subject: its reply subject.
    pub(crate) fn open(&mut self, token: u64, subject: &str, answers: Arc<Answers>) -> String {
        let subject = subject.to_owned();
        self.open.insert(token, Asked { subject, answers });
        format!("{}{token:016x}", self.prefix)
    }

    /// Its guest waits no more.
    pub(crate) fn close(&mut self, token: u64) {
        self.open.remove(&token);
    }

    /// A reply has come, or word that there is nobody to reply.
    pub(crate) fn answered(&self, incoming: Incoming) {
        let subject = incoming.message.subject();
        let token = subject.get(self.prefix.len()..).unwrap_or_default();
        let token = u64::from_str_radix(token, 16).ok();
        let Some(asked) = token.and_then(|token| self.open.get(&token)) else {
            return;
        };
        match incoming.status {
            Some(NO_RESPONDERS) => {
                let nobody = Refusal::NoResponders(asked.subject.clone());
                asked.answers.end(nobody);
            }
            Some(_) | None => drop(asked.answers.push(incoming.message)),
        }
    }

    /// Ends all: the connection is gone.
    pub(crate) fn lose(&mut self) {
        for (_, asked) in self.open.drain() {
            asked.answers.end(Refusal::Disconnected);
        }
    }
}
