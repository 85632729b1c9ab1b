//! Lowering a batch: a list of records that borrow from it, made with a few allocations a call and none a message.

use super::types::WitMessage;
use super::{CHANNEL, ID, REPLY_TO};
use crate::message::Message;

/// Borrows a batch as the list that is lowered: four allocations a call and none a message.
pub(super) fn lowered<O>(batch: &[Message], call: impl FnOnce(&[WitMessage<'_>]) -> O) -> O {
    let ids = Ids::of(batch);
    let metadata = Metadata::of(batch, &ids);
    call(&metadata.messages(batch))
}

/// The ids of a batch as text, in one buffer.
pub(super) struct Ids {
    text: String,
}

/// Digits of an id: a `u64` in hexadecimal.
const ID_DIGITS: usize = 16;

impl Ids {
    /// Writes them.
    pub(super) fn of(batch: &[Message]) -> Self {
        let mut text = String::with_capacity(batch.len() * ID_DIGITS);
        for message in batch {
            push_id(&mut text, message.id);
        }
        Self { text }
    }

    fn get(&self, index: usize) -> &str {
        &self.text[index * ID_DIGITS..][..ID_DIGITS]
    }
}

/// Writes an id as its metadata has it: 16 hexadecimal digits.
pub(crate) fn push_id(text: &mut String, id: u64) {
    let digits: [u8; ID_DIGITS] = std::array::from_fn(|place| {
        let digit = (id >> (4 * (ID_DIGITS - 1 - place))) & 0xf;
        b"0123456789abcdef"[digit as usize]
    });
    text.push_str(std::str::from_utf8(&digits).expect("digits are text"));
}

/// The metadata of a batch, in one list; and where each message's ends.
pub(super) struct Metadata<'a> {
    pairs: Vec<(&'a str, &'a str)>,
    ends: Vec<usize>,
}

impl<'a> Metadata<'a> {
    /// Lists it.
    pub(super) fn of(batch: &'a [Message], ids: &'a Ids) -> Self {
        let mut pairs = Vec::with_capacity(batch.len() * 3);
        let mut ends = Vec::with_capacity(batch.len());
        // Most have the same subject as the one before, and many the same headers: these are looked at as text once.
        let mut subject = (&b""[..], "");
        let mut headers = (&b""[..], 0..0);
        for (index, message) in batch.iter().enumerate() {
            if message.raw_subject() != subject.0 {
                subject = (message.raw_subject(), message.subject());
            }
            pairs.push((CHANNEL, subject.1));
            pairs.push((ID, ids.get(index)));
            if let Some(reply_to) = message.reply_to() {
                pairs.push((REPLY_TO, reply_to));
            }
            let from = pairs.len();
            if message.raw_headers() == headers.0 {
                pairs.extend_from_within(headers.1.clone());
            } else {
                // A header may not pass for what the host says.
                let own = |(key, _): &(&str, &str)| ![CHANNEL, ID, REPLY_TO].contains(key);
                pairs.extend(message.headers().filter(own));
            }
            headers = (message.raw_headers(), from..pairs.len());
            ends.push(pairs.len());
        }
        Self { pairs, ends }
    }

    /// The batch as the list that is lowered.
    pub(super) fn messages(&'a self, batch: &'a [Message]) -> Vec<WitMessage<'a>> {
        let mut start = 0;
        let message = |(message, &end): (&'a Message, &usize)| {
            let metadata = &self.pairs[start..end];
            start = end;
            WitMessage {
                data: message.payload(),
                format: message.format().into(),
                metadata: Some(metadata),
            }
        };
        batch.iter().zip(&self.ends).map(message).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(id: u64, subject: &str, reply_to: bool, headers: &[&str]) -> Message {
        let builder = Message::builder(subject);
        let builder = match reply_to {
            true => builder.reply_to("replies"),
            false => builder,
        };
        let headers = headers.iter().fold(builder, |b, key| b.header(key, key));
        let mut message = headers.payload(b"").unwrap();
        message.id = id;
        message
    }

    proptest! {
        #[test]
        fn each_message_has_its_own_metadata_whatever_those_before_it_had(
            parts in prop::collection::vec(
                (any::<u64>(), "[ab]", any::<bool>(), prop::collection::vec(prop::sample::select(vec!["k", "l", "id"]), 0..3)),
                0..20,
            ),
        ) {
            let batch: Vec<_> = parts.iter().map(|(id, subject, reply, keys)| message(*id, subject, *reply, keys)).collect();
            lowered(&batch, |messages| {
                assert_eq!(messages.len(), parts.len());
                for (message, (id, subject, reply, keys)) in messages.iter().zip(&parts) {
                    let id = format!("{id:016x}");
                    let mut expected = vec![(CHANNEL, subject.as_str()), (ID, &id)];
                    expected.extend(reply.then_some((REPLY_TO, "replies")));
                    expected.extend(keys.iter().filter(|key| **key != ID).map(|key| (*key, *key)));
                    assert_eq!(message.metadata, Some(&*expected));
                }
            });
        }
    }
}
