//! A message that a guest holds: one that came, one it made, or one that came with what it changed.

use bytes::Bytes;

use crate::message::{Format, Message};
use crate::outbox::{Draft, HoldError};

/// The metadata that says what the data is; in any case, as HTTP has it.
const CONTENT_TYPE: &str = "Content-Type";

/// What a pair of metadata takes beside its bytes.
const PAIR_BYTES: usize = size_of::<(String, String)>();

/// A message that a guest holds: what it changed or made. What came lies elsewhere, and is shared: see [`Seen`].
#[derive(Debug, Default)]
pub(crate) struct Held {
    came: Came,
    data: Option<Bytes>,
    metadata: Option<Vec<(String, String)>>,
}

/// What came.
#[derive(Debug, Default)]
enum Came {
    /// Nothing: the guest made it.
    #[default]
    Nothing,
    /// The message that is handled: its call's batch has it.
    Handled,
    /// The reply to a request.
    Reply(Box<Message>),
}

impl Held {
    /// The one that is handled.
    pub(super) fn handled() -> Self {
        Self {
            came: Came::Handled,
            ..Self::default()
        }
    }

    /// A reply that came.
    pub(super) fn reply(message: Message) -> Self {
        Self {
            came: Came::Reply(Box::new(message)),
            ..Self::default()
        }
    }

    /// One that a guest makes.
    pub(super) fn new(data: Vec<u8>) -> Self {
        Self {
            data: Some(data.into()),
            ..Self::default()
        }
    }

    /// As its guest sees it, in a call that handles this message.
    pub(crate) fn seen<'a>(&'a self, handled: Option<&'a Message>) -> Seen<'a> {
        let came = match &self.came {
            Came::Nothing => None,
            Came::Handled => handled,
            Came::Reply(message) => Some(&**message),
        };
        Seen { held: self, came }
    }

    /// Bytes that it takes beside what came.
    pub(super) fn own_bytes(&self) -> usize {
        let pairs = self.metadata.iter().flatten();
        let pairs = pairs.map(|(key, value)| key.len() + value.len() + PAIR_BYTES);
        self.data.as_ref().map_or(0, Bytes::len) + pairs.sum::<usize>()
    }

    /// Replaces its data.
    pub(super) fn set_data(&mut self, data: Vec<u8>) {
        self.data = Some(data.into());
    }

    /// Replaces all pairs of metadata.
    pub(super) fn set_metadata(&mut self, pairs: Vec<(String, String)>) {
        self.metadata = Some(pairs);
    }

    /// Its pairs of metadata, to be changed.
    pub(super) fn metadata_mut(&mut self, handled: Option<&Message>) -> &mut Vec<(String, String)> {
        let pairs = match self.metadata.take() {
            Some(pairs) => pairs,
            None => self.seen(handled).metadata().unwrap_or_default(),
        };
        self.metadata.insert(pairs)
    }
}

/// Says in pairs of metadata what the data is.
pub(super) fn set_content_type(pairs: &mut Vec<(String, String)>, value: String) {
    pairs.retain(|(key, _)| !key.eq_ignore_ascii_case(CONTENT_TYPE));
    pairs.push((CONTENT_TYPE.to_owned(), value));
}

/// Adds a pair, in the place of all of its name.
pub(super) fn add(pairs: &mut Vec<(String, String)>, key: String, value: String) {
    remove(pairs, &key);
    pairs.push((key, value));
}

/// Removes all pairs of this name.
pub(super) fn remove(pairs: &mut Vec<(String, String)>, key: &str) {
    pairs.retain(|(own, _)| own != key);
}

/// A message as its guest sees it: what came, with what was changed beside it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    held: &'a Held,
    came: Option<&'a Message>,
}

impl<'a> Seen<'a> {
    /// The topic that it came on.
    pub(super) fn topic(self) -> Option<&'a str> {
        self.came.map(Message::subject)
    }

    /// Where a reply goes, if somebody waits for one.
    pub(super) fn reply_to(self) -> Option<&'a str> {
        self.came.and_then(Message::reply_to)
    }

    /// Its data.
    pub(crate) fn data(self) -> &'a [u8] {
        let came = || self.came.map_or(&[][..], Message::payload);
        self.held.data.as_deref().unwrap_or_else(came)
    }

    /// Its data, shared: who asks for it copies it once, into the guest.
    pub(super) fn shared_data(self) -> Bytes {
        let came = || self.came.map(Message::shared_payload);
        self.held.data.clone().or_else(came).unwrap_or_default()
    }

    /// Its metadata: as changed, else as it came.
    fn pairs(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let changed = self.held.metadata.as_ref();
        let came = self.came.filter(|_| changed.is_none());
        let came = came.into_iter().flat_map(Message::headers);
        let own = changed.into_iter().flatten();
        own.map(|(key, value)| (key.as_str(), value.as_str()))
            .chain(came)
    }

    /// Its metadata, if it has any.
    pub(super) fn metadata(self) -> Option<Vec<(String, String)>> {
        let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let pairs: Vec<_> = self.pairs().map(own).collect();
        (!pairs.is_empty()).then_some(pairs)
    }

    /// What the data is.
    pub(super) fn content_type(self) -> Option<&'a str> {
        let mut pairs = self.pairs();
        let found = pairs.find(|(key, _)| key.eq_ignore_ascii_case(CONTENT_TYPE));
        found.map(|(_, value)| value)
    }

    fn format(self) -> Format {
        self.came.map_or(Format::Raw, Message::format)
    }

    /// Ends a send with it. Where replies to it go is not sent along.
    pub(super) fn send(self, mut draft: Draft<'_>) -> Result<(), HoldError> {
        for (key, value) in self.pairs() {
            draft.header(key, value)?;
        }
        draft.payload(self.data(), self.format())
    }

    /// The message that asks on this topic.
    pub(super) fn question(self, topic: &str) -> Result<Message, HoldError> {
        let start = Message::builder(topic).format(self.format());
        let pairs = self.pairs();
        let built = pairs.fold(start, |builder, (key, value)| builder.header(key, value));
        Ok(built.payload(self.data())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        let message = Message::builder("a")
            .header("k", "1")
            .header("content-type", "x/y")
            .header("k", "2");
        message.payload(b"data").unwrap()
    }

    fn pairs(seen: Seen<'_>) -> Vec<(&str, &str)> {
        seen.pairs().collect()
    }

    #[test]
    fn what_came_is_shared_until_it_is_changed() {
        let came = message();
        let handled = Some(&came);
        for mut h in [Held::handled(), Held::reply(message())] {
            let seen = h.seen(handled);
            assert_eq!(
                (seen.topic(), seen.content_type(), h.own_bytes()),
                (Some("a"), Some("x/y"), 0)
            );
            add(h.metadata_mut(handled), "k".into(), "3".into());
            assert_eq!(
                pairs(h.seen(handled)),
                [("content-type", "x/y"), ("k", "3")]
            );
            set_content_type(h.metadata_mut(handled), "z".into());
            assert_eq!(pairs(h.seen(handled)), [("k", "3"), ("Content-Type", "z")]);
            remove(h.metadata_mut(handled), "k");
            remove(h.metadata_mut(handled), "absent");
            assert_eq!(pairs(h.seen(handled)), [("Content-Type", "z")]);
            h.set_metadata(Vec::new());
            let seen = h.seen(handled);
            assert_eq!((seen.metadata(), seen.content_type()), (None, None));
            assert_eq!((seen.data(), h.own_bytes()), (&b"data"[..], 0));
            assert_eq!(seen.shared_data().as_ptr(), seen.data().as_ptr());
            h.set_data(b"longer data".to_vec());
            let seen = h.seen(handled);
            assert_eq!((seen.data(), h.own_bytes()), (&b"longer data"[..], 11));
            assert_eq!(seen.shared_data().as_ptr(), seen.data().as_ptr());
        }
    }

    #[test]
    fn a_new_one_has_its_data_alone() {
        let (h, came) = (Held::new(b"x".to_vec()), message());
        let seen = h.seen(Some(&came));
        assert_eq!(
            (seen.topic(), seen.reply_to(), seen.metadata()),
            (None, None, None)
        );
        let question = seen.question("t").unwrap();
        assert_eq!((question.subject(), question.payload()), ("t", &b"x"[..]));
        assert!(seen.question("bad topic").is_err());
    }
}
