//! Who sent to a subject: a server that refuses a publish names the subject, and not who it was for.
//!
//! Owns a table of the handlers that sent last, by subject. Approximate by design: of two handlers that send to one subject it knows the
//! later, and a subject whose place another has taken since is nobody's. Costs nothing where there is one handler. Pure.

use crate::message::HandlerId;

/// Subjects that are told apart. Default 1,024: 16 KiB a shard, of which a handler with few subjects touches few.
const PLACES: usize = 1 << 10;

/// The senders of one shard.
#[derive(Debug)]
pub(crate) enum Senders {
    /// There is one handler: whatever was sent is its.
    One,
    /// By the place of the subject's hash: the whole hash, and who sent there last.
    Last(Box<[(u64, HandlerId)]>),
}

impl Senders {
    /// Of a shard with this many handlers.
    pub(crate) fn new(handlers: usize) -> Self {
        match handlers {
            0 | 1 => Self::One,
            _ => Self::Last(vec![(0, HandlerId(0)); PLACES].into()),
        }
    }

    /// This handler sends to this subject.
    #[inline]
    pub(crate) fn sent(&mut self, from: HandlerId, subject: &[u8]) {
        if let Self::Last(places) = self {
            let hash = hash(subject);
            places[hash as usize % PLACES] = (hash, from);
        }
    }

    /// Who sent to this subject last, if that is known.
    pub(crate) fn of(&self, subject: &str) -> Option<HandlerId> {
        match self {
            Self::One => Some(HandlerId(0)),
            Self::Last(places) => {
                let hash = hash(subject.as_bytes());
                let (found, from) = places[hash as usize % PLACES];
                (found == hash).then_some(from)
            }
        }
    }
}

/// Never 0, which is an empty place. Eight bytes at a time, as in the hash of rustc (FxHash), whose better half is the upper one.
fn hash(subject: &[u8]) -> u64 {
    let mut hash = subject.len() as u64;
    for chunk in subject.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
    hash.rotate_left(20) | 1 << 63
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sent_last_is_known_and_who_never_sent_is_not() {
        let mut senders = Senders::new(2);
        assert_eq!(senders.of("a"), None);
        let subjects: Vec<String> = (0..20).map(|n| format!("some.subject.{n}")).collect();
        for (n, subject) in (0..).zip(&subjects) {
            senders.sent(HandlerId(n % 2), subject.as_bytes());
        }
        for (n, subject) in (0..).zip(&subjects) {
            assert_eq!(senders.of(subject), Some(HandlerId(n % 2)), "{subject}");
        }
        senders.sent(HandlerId(1), subjects[0].as_bytes());
        assert_eq!(senders.of(&subjects[0]), Some(HandlerId(1)));
        assert_eq!(senders.of("another"), None);
    }

    #[test]
    fn many_subjects_are_told_apart_or_unknown_and_never_anothers() {
        let mut senders = Senders::new(2);
        for n in 0..10 * PLACES {
            senders.sent(HandlerId((n % 2) as u32), format!("s.{n}").as_bytes());
        }
        let known = (0..10 * PLACES).filter_map(|n| Some((n, senders.of(&format!("s.{n}"))?)));
        let known: Vec<_> = known.collect();
        assert!(known.len() > PLACES / 2, "{}", known.len());
        assert!(known.iter().all(|(n, of)| of.0 == (n % 2) as u32));
    }

    #[test]
    fn one_handler_sent_all_there_is() {
        let mut senders = Senders::new(1);
        senders.sent(HandlerId(0), b"a");
        assert_eq!(senders.of("b"), Some(HandlerId(0)));
    }
}
