//! The server's answer to a message that was published into a stream, and what follows of it for who waits for it.
//! Source: `server/errors.json` of nats-server for the codes; ADR-1 for the form, ADR-50 for batches
//! (<https://github.com/nats-io/nats-architecture-and-design>).
//!
//! Owns the headers of a publish, the answers' form and their meaning; which inputs wait for which answer is the transport's.

use std::borrow::Cow;

use serde::Deserialize;

/// The header whose value a stream takes only once within its duplicate window.
pub(crate) const MSG_ID: &str = "Nats-Msg-Id";
/// The header that names the stream which is meant: any other refuses the message with [`STREAM_MISMATCH`].
pub(crate) const EXPECTED_STREAM: &str = "Nats-Expected-Stream";
/// The header that names the atomic batch a message is part of.
pub(crate) const BATCH_ID: &str = "Nats-Batch-Id";
/// The header that numbers the messages of an atomic batch: from 1, without gaps.
pub(crate) const BATCH_SEQUENCE: &str = "Nats-Batch-Sequence";
/// The header of an atomic batch's last message, with the value `1`: all of it is stored, or nothing.
pub(crate) const BATCH_COMMIT: &str = "Nats-Batch-Commit";

/// The headers of atomic batches. A stream keeps them with the messages of a batch, so that they come with a delivery: on a message
/// that is published alone they have to go, or it is staged for a batch that never ends.
pub(crate) const BATCH_HEADERS: [&str; 3] = [BATCH_ID, BATCH_SEQUENCE, BATCH_COMMIT];
/// The headers by which a publisher told a stream how to store a message (ADR-8, ADR-43, ADR-51 beside those above). They come with its
/// deliveries, and on its letter they would be meant for the stream of letters: that would refuse it, or take it for a duplicate, or
/// roll up the letters before it.
pub(crate) const STORE_HEADERS: [&str; 16] = [
    BATCH_ID,
    BATCH_SEQUENCE,
    BATCH_COMMIT,
    MSG_ID,
    EXPECTED_STREAM,
    "Nats-Expected-Last-Sequence",
    "Nats-Expected-Last-Subject-Sequence",
    "Nats-Expected-Last-Subject-Sequence-Subject",
    "Nats-Expected-Last-Msg-Id",
    "Nats-Rollup",
    "Nats-TTL",
    "Nats-Incr",
    "Nats-Schedule",
    "Nats-Schedule-TTL",
    "Nats-Schedule-Target",
    "Nats-Required-Api-Level",
];

/// Messages of an atomic batch at most, as servers have it unless told otherwise.
pub(crate) const BATCH_MESSAGES_MAX: usize = 1_000;

/// `JSClusterNotAvailErr`: JetStream is temporarily unavailable.
pub(crate) const JETSTREAM_UNAVAILABLE: u16 = 10_008;
/// `JSClusterNotLeaderErr`: the server doesn't lead what the request is about.
pub(crate) const NOT_LEADER: u16 = 10_009;
/// `JSStreamMessageExceedsMaximumErr`: the message is larger than the stream's `max_msg_size`.
#[cfg(test)]
pub(crate) const MESSAGE_TOO_LARGE: u16 = 10_054;
/// `JSStreamNotFoundErr`.
#[cfg(test)]
pub(crate) const STREAM_NOT_FOUND: u16 = 10_059;
/// `JSStreamNotMatchErr`: the stream is not the one of [`EXPECTED_STREAM`].
#[cfg(test)]
pub(crate) const STREAM_MISMATCH: u16 = 10_060;
/// `JSStreamStoreFailedF`: the stream is full and discards new messages, or its store failed.
pub(crate) const STORE_FAILED: u16 = 10_077;
/// `JSStreamSealedErr`: the stream takes nothing any more.
#[cfg(test)]
pub(crate) const STREAM_SEALED: u16 = 10_109;
/// `JSStreamDuplicateMessageConflict`: a message or batch with this id is in process.
pub(crate) const DUPLICATE_IN_PROCESS: u16 = 10_158;
/// `JSAtomicPublishDisabledErr`: the stream takes no atomic batches.
#[cfg(test)]
pub(crate) const BATCH_DISABLED: u16 = 10_174;
/// `JSAtomicPublishIncompleteBatchErr`: messages are missing from the batch, or it was open too long, or its leader changed.
pub(crate) const BATCH_INCOMPLETE: u16 = 10_176;
/// `JSAtomicPublishInvalidBatchIDErr`.
#[cfg(test)]
pub(crate) const BATCH_ID_INVALID: u16 = 10_179;
/// `JSAtomicPublishTooLargeBatchErrF`: above [`BATCH_MESSAGES_MAX`].
#[cfg(test)]
pub(crate) const BATCH_TOO_LARGE: u16 = 10_199;
/// `JSAtomicPublishContainsDuplicateMessageErr`: an id of the batch is stored already, so an earlier try of it was committed.
pub(crate) const BATCH_DUPLICATE: u16 = 10_201;
/// `JSAtomicPublishTooManyInflight`: too many atomic batches are open in the stream or the server.
pub(crate) const BATCHES_TOO_MANY: u16 = 10_210;

/// A message, or an atomic batch, is stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PubAck<'a> {
    /// The stream.
    pub(crate) stream: Cow<'a, str>,
    /// The message's number in it; of a batch, its last one's.
    pub(crate) seq: u64,
    /// Whether its id was known: it was stored before, and not again.
    pub(crate) duplicate: bool,
    /// The JetStream domain; empty where there is none.
    pub(crate) domain: Cow<'a, str>,
    /// The atomic batch; empty where it was none.
    pub(crate) batch: Cow<'a, str>,
    /// Messages of the atomic batch; 0 where it was none.
    pub(crate) count: u64,
}

/// Why JetStream refuses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(crate) struct ApiError<'a> {
    /// Its kind, numbered as in HTTP.
    #[serde(default)]
    pub(crate) code: u16,
    /// What it is; 0 where the server gives no number.
    #[serde(default)]
    pub(crate) err_code: u16,
    /// Its text: for people, it changes between versions.
    #[serde(borrow, default)]
    pub(crate) description: Cow<'a, str>,
}

/// What follows of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The same was stored by an earlier try: it is done.
    Done,
    /// Nothing is known to be stored, and it may work later: try again.
    TryAgain,
    /// Nothing is stored, and the same would be refused again.
    Refused,
}

impl ApiError<'_> {
    /// What follows of it, for a message or batch that was published with ids.
    pub(crate) fn verdict(&self) -> Verdict {
        match (self.err_code, self.code) {
            (BATCH_DUPLICATE, _) => Verdict::Done,
            (DUPLICATE_IN_PROCESS | BATCHES_TOO_MANY | BATCH_INCOMPLETE, _) => Verdict::TryAgain,
            (JETSTREAM_UNAVAILABLE | NOT_LEADER | STORE_FAILED, _) => Verdict::TryAgain,
            // Too many requests; a part of the server is not there.
            (_, 429 | 503) => Verdict::TryAgain,
            _ => Verdict::Refused,
        }
    }
}

/// The answer to a publish with a reply subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PublishReply<'a> {
    /// It is stored.
    Stored(PubAck<'a>),
    /// It is part of an atomic batch whose end has not come yet: nothing is stored.
    Staged,
    /// It is not stored.
    Refused(ApiError<'a>),
    /// No stream has this subject (status 503).
    NoStream,
    /// It is no answer of JetStream: somebody else listens on the subject and answered.
    Foreign,
}

/// The fields of an answer: a refusal may name its stream too.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer<'a> {
    #[serde(borrow)]
    error: Option<ApiError<'a>>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    seq: u64,
    duplicate: bool,
    #[serde(borrow)]
    domain: Cow<'a, str>,
    #[serde(borrow)]
    batch: Cow<'a, str>,
    count: u64,
}

impl<'a> PublishReply<'a> {
    /// Reads an answer: its status, where it has one, and its payload. Allocates only for texts with escapes.
    pub(crate) fn of(status: Option<u16>, payload: &'a [u8]) -> Self {
        match (status, payload) {
            (Some(503), _) => Self::NoStream,
            (Some(_), _) => Self::Foreign,
            (None, []) => Self::Staged,
            (None, json) => Self::read(json),
        }
    }

    fn read(json: &'a [u8]) -> Self {
        match serde_json::from_slice::<Answer<'a>>(json) {
            Ok(Answer {
                error: Some(error), ..
            }) => Self::Refused(error),
            Ok(answer) if !answer.stream.is_empty() => Self::Stored(PubAck {
                stream: answer.stream,
                seq: answer.seq,
                duplicate: answer.duplicate,
                domain: answer.domain,
                batch: answer.batch,
                count: answer.count,
            }),
            _ => Self::Foreign,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored(payload: &[u8]) -> PubAck<'_> {
        match PublishReply::of(None, payload) {
            PublishReply::Stored(ack) => ack,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_stored_is_read_in_place() {
        let ack = stored(br#"{"stream":"ORDERS","seq":22}"#);
        assert_eq!(
            (&*ack.stream, ack.seq, ack.duplicate),
            ("ORDERS", 22, false)
        );
        assert_eq!((&*ack.domain, &*ack.batch, ack.count), ("", "", 0));
        let ack = stored(br#"{"type":"x","stream":"S","domain":"hub","seq":18446744073709551615,"duplicate":true,"batch":"b1","count":3,"val":"7"}"#);
        assert_eq!((ack.seq, ack.duplicate, ack.count), (u64::MAX, true, 3));
        assert_eq!((&*ack.domain, &*ack.batch), ("hub", "b1"));
        for text in [ack.stream, ack.domain, ack.batch] {
            assert!(matches!(text, Cow::Borrowed(_)));
        }
        assert_eq!(stored(br#"{"stream":"\u0053","seq":1}"#).stream, "S");
    }

    #[test]
    fn what_is_refused_has_its_code() {
        let json = br#"{"error":{"code":400,"err_code":10060,"description":"expected stream does not match"},"stream":"S","seq":0}"#;
        let wanted = ApiError {
            code: 400,
            err_code: STREAM_MISMATCH,
            description: "expected stream does not match".into(),
        };
        assert_eq!(PublishReply::of(None, json), PublishReply::Refused(wanted));
        let bare = PublishReply::of(
            None,
            br#"{"error":{"code":503,"description":"raft: not leader"}}"#,
        );
        let PublishReply::Refused(error) = bare else {
            panic!("{bare:?}");
        };
        assert_eq!((error.err_code, error.verdict()), (0, Verdict::TryAgain));
    }

    #[test]
    fn what_is_no_answer_of_jetstream_is_told_apart() {
        assert_eq!(PublishReply::of(Some(503), b""), PublishReply::NoStream);
        assert_eq!(PublishReply::of(Some(408), b""), PublishReply::Foreign);
        assert_eq!(PublishReply::of(None, b""), PublishReply::Staged);
        for foreign in [
            "hello",
            "{}",
            "[]",
            "7",
            "null",
            "{\"stream\":\"\"}",
            "{\"stream\":7}",
            "{\"stream\":\"S\",\"seq\":-1}",
        ] {
            assert_eq!(
                PublishReply::of(None, foreign.as_bytes()),
                PublishReply::Foreign,
                "{foreign}"
            );
        }
    }

    #[test]
    fn a_refusal_says_whether_to_try_again() {
        let verdict = |code, err_code| {
            let description = Cow::default();
            let error = ApiError {
                code,
                err_code,
                description,
            };
            error.verdict()
        };
        assert_eq!(verdict(400, BATCH_DUPLICATE), Verdict::Done);
        for (code, err_code) in [
            (409, DUPLICATE_IN_PROCESS),
            (429, BATCHES_TOO_MANY),
            (400, BATCH_INCOMPLETE),
            (503, STORE_FAILED),
            (500, NOT_LEADER),
            (503, JETSTREAM_UNAVAILABLE),
            (503, 0),
            (429, 10_211),
        ] {
            assert_eq!(verdict(code, err_code), Verdict::TryAgain, "{err_code}");
        }
        for (code, err_code) in [
            (400, STREAM_MISMATCH),
            (400, MESSAGE_TOO_LARGE),
            (400, BATCH_DISABLED),
            (400, BATCH_TOO_LARGE),
            (400, BATCH_ID_INVALID),
            (404, STREAM_NOT_FOUND),
            (400, STREAM_SEALED),
        ] {
            assert_eq!(verdict(code, err_code), Verdict::Refused, "{err_code}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_without_panic(payload in prop::collection::vec(any::<u8>(), 0..60), status: Option<u16>) {
            PublishReply::of(status, &payload);
        }

        #[test]
        fn any_confirmation_is_read(stream in "[A-Za-z0-9_-]{1,20}", seq: u64, duplicate: bool, count: u64) {
            let json = serde_json::json!({"stream": stream, "seq": seq, "duplicate": duplicate, "batch": "b", "count": count}).to_string();
            let ack = stored(json.as_bytes());
            prop_assert_eq!((&*ack.stream, ack.seq, ack.duplicate, ack.count), (stream.as_str(), seq, duplicate, count));
        }
    }
}
