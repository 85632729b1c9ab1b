//! A message that a guest holds: one that came, one it made, or one that came with what it changed.

use bytes::Bytes;

use crate::message::{Format, Message};
use crate::outbox::{Draft, HoldError};

/// The metadata that says what the data is; in any case, as HTTP has it.
const CONTENT_TYPE: &str = "Content-Type";

/// What a pair of metadata takes beside its bytes.
const PAIR_BYTES: usize = size_of::<(String, String)>();

/// A message as its guest sees it. What came is shared, and what was changed lies beside it.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// As it came; none of one that the guest made.
    came: Option<Message>,
    data: Option<Bytes>,
    metadata: Option<Vec<(String, String)>>,
}

impl Held {
    /// One that came.
    pub(super) fn came(message: Message) -> Self {
        Self {
            came: Some(message),
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

    /// Bytes that it takes beside what came.
    pub(super) fn own_bytes(&self) -> usize {
        let pairs = self.metadata.iter().flatten();
        let pairs = pairs.map(|(key, value)| key.len() + value.len() + PAIR_BYTES);
        self.data.as_ref().map_or(0, Bytes::len) + pairs.sum::<usize>()
    }

    /// The topic that it came on.
    pub(super) fn topic(&self) -> Option<&str> {
        self.came.as_ref().map(Message::subject)
    }

    /// Where a reply goes, if somebody waits for one.
    pub(super) fn reply_to(&self) -> Option<&str> {
        self.came.as_ref().and_then(Message::reply_to)
    }

    /// Its data.
    pub(super) fn data(&self) -> &[u8] {
        let came = || self.came.as_ref().map_or(&[][..], Message::payload);
        self.data.as_deref().unwrap_or_else(came)
    }

    /// Its data, shared: who asks for it copies it once, into the guest.
    pub(super) fn shared_data(&self) -> Bytes {
        let came = || self.came.as_ref().map(Message::shared_payload);
        self.data.clone().or_else(came).unwrap_or_default()
    }

    /// Replaces its data.
    pub(super) fn set_data(&mut self, data: Vec<u8>) {
        self.data = Some(data.into());
    }

    /// Its metadata: as changed, else as it came.
    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let own = self.metadata.iter().flatten();
        let came = self.came.as_ref().filter(|_| self.metadata.is_none());
        let came = came.into_iter().flat_map(Message::headers);
        own.map(|(key, value)| (key.as_str(), value.as_str()))
            .chain(came)
    }

    /// Its metadata, if it has any.
    pub(super) fn metadata(&self) -> Option<Vec<(String, String)>> {
        let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let pairs: Vec<_> = self.pairs().map(own).collect();
        (!pairs.is_empty()).then_some(pairs)
    }

    /// What the data is.
    pub(super) fn content_type(&self) -> Option<&str> {
        let mut pairs = self.pairs();
        let found = pairs.find(|(key, _)| key.eq_ignore_ascii_case(CONTENT_TYPE));
        found.map(|(_, value)| value)
    }

    /// Says what the data is.
    pub(super) fn set_content_type(&mut self, value: String) {
        let metadata = self.changed();
        metadata.retain(|(key, _)| !key.eq_ignore_ascii_case(CONTENT_TYPE));
        metadata.push((CONTENT_TYPE.to_owned(), value));
    }

    /// Adds a pair, in the place of all of its name.
    pub(super) fn add(&mut self, key: String, value: String) {
        self.remove(&key);
        self.changed().push((key, value));
    }

    /// Removes all pairs of this name.
    pub(super) fn remove(&mut self, key: &str) {
        self.changed().retain(|(own, _)| own != key);
    }

    /// Replaces all pairs.
    pub(super) fn set_metadata(&mut self, pairs: Vec<(String, String)>) {
        self.metadata = Some(pairs);
    }

    fn changed(&mut self) -> &mut Vec<(String, String)> {
        let pairs = match self.metadata.take() {
            Some(pairs) => pairs,
            None => self.metadata().unwrap_or_default(),
        };
        self.metadata.insert(pairs)
    }

    fn format(&self) -> Format {
        self.came.as_ref().map_or(Format::Raw, Message::format)
    }

    /// Ends a send with it. Where replies to it go is not sent along.
    pub(super) fn send(&self, mut draft: Draft<'_>) -> Result<(), HoldError> {
        for (key, value) in self.pairs() {
            draft.header(key, value)?;
        }
        draft.payload(self.data(), self.format())
    }

    /// The message that asks on this topic.
    pub(super) fn question(&self, topic: &str) -> Result<Message, HoldError> {
        let start = Message::builder(topic).format(self.format());
        let pairs = self.pairs();
        let built = pairs.fold(start, |builder, (key, value)| builder.header(key, value));
        Ok(built.payload(self.data())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> Held {
        let message = Message::builder("a")
            .header("k", "1")
            .header("content-type", "x/y")
            .header("k", "2");
        Held::came(message.payload(b"data").unwrap())
    }

    fn pairs(held: &Held) -> Vec<(&str, &str)> {
        held.pairs().collect()
    }

    #[test]
    fn what_came_is_shared_until_it_is_changed() {
        let mut h = held();
        assert_eq!(
            (h.topic(), h.content_type(), h.own_bytes()),
            (Some("a"), Some("x/y"), 0)
        );
        h.add("k".into(), "3".into());
        assert_eq!(pairs(&h), [("content-type", "x/y"), ("k", "3")]);
        h.set_content_type("z".into());
        assert_eq!(pairs(&h), [("k", "3"), ("Content-Type", "z")]);
        h.remove("k");
        h.remove("absent");
        assert_eq!(pairs(&h), [("Content-Type", "z")]);
        h.set_metadata(Vec::new());
        assert_eq!((h.metadata(), h.content_type()), (None, None));
        assert_eq!((h.data(), h.own_bytes()), (&b"data"[..], 0));
        assert_eq!(h.shared_data().as_ptr(), h.data().as_ptr());
        h.set_data(b"longer data".to_vec());
        assert_eq!((h.data(), h.own_bytes()), (&b"longer data"[..], 11));
        assert_eq!(h.shared_data().as_ptr(), h.data().as_ptr());
    }

    #[test]
    fn a_new_one_has_its_data_alone() {
        let h = Held::new(b"x".to_vec());
        assert_eq!((h.topic(), h.reply_to(), h.metadata()), (None, None, None));
        let question = h.question("t").unwrap();
        assert_eq!((question.subject(), question.payload()), ("t", &b"x"[..]));
        assert!(h.question("bad topic").is_err());
    }
}
