//! Lowering a batch: a list of records that borrow from it, made with a few allocations a call and none a message.

use super::types::WitMessage;
use super::{CHANNEL, ID, REPLY_TO};
use crate::message::Message;

/// Borrows a batch as the list that is lowered: two allocations a call and none a message.
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
    for shift in (0..ID_DIGITS).rev() {
        let digit = (id >> (4 * shift)) & 0xf;
        text.push(char::from(b"0123456789abcdef"[digit as usize]));
    }
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
        for (index, message) in batch.iter().enumerate() {
            pairs.push((CHANNEL, message.subject()));
            pairs.push((ID, ids.get(index)));
            pairs.extend(message.reply_to().map(|reply_to| (REPLY_TO, reply_to)));
            // A header may not pass for what the host says.
            let own = |(key, _): &(&str, &str)| ![CHANNEL, ID, REPLY_TO].contains(key);
            pairs.extend(message.headers().filter(own));
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
