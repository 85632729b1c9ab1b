//! What the fuzz targets check, and what the engine's own tests check of the corpus: the engine has this file too.

use bytes::Bytes;

use crate::broker::nats::js::ack::Delivery;
use crate::broker::nats::js::publish::PublishReply;
use crate::broker::nats::js::pull::{PullRest, PullStatus};
use crate::broker::nats::wire::headers::{self, Block};
use crate::broker::nats::wire::parse::{Incoming, Op, Parser, WireError, WireLimits};
use crate::broker::nats::wire::write::{WriteLimits, Writer};
use crate::message::Message;

/// Small limits, so that short inputs meet them.
const LIMITS: WireLimits = WireLimits {
    control_line_bytes_max: 200,
    info_bytes_max: 300,
    header_bytes_max: 100,
    payload_bytes_max: 400,
};

/// A server's stream behind its first eight bytes, which say how it is cut: in any pieces it gives the same operations and the
/// same kind of error, asks for no more than the limits, and what it gives can be written and read again. And every reader of
/// JetStream's texts takes it.
pub(crate) fn nats(data: &[u8]) {
    texts(data);
    let Some((cuts, stream)) = data.split_at_checked(8) else {
        return;
    };
    let whole = read(stream, &[]);
    assert_eq!(whole, read(stream, cuts));
    assert_eq!(whole, read(stream, &[1]));
}

/// Reads a stream in pieces of these sizes, over and over; as a whole where there are none. Each operation as bytes, and the
/// kind of the error that it ends with.
fn read(stream: &[u8], cuts: &[u8]) -> (Vec<Vec<u8>>, Option<std::mem::Discriminant<WireError>>) {
    let needed_max = LIMITS.control_line_bytes_max + LIMITS.payload_bytes_max + 4;
    let (mut parser, mut seen) = (Parser::new(LIMITS), Vec::new());
    let (mut carried, mut rest, mut cuts) = (Vec::new(), stream, cuts.iter().cycle());
    while !rest.is_empty() {
        let size = cuts.next().map_or(rest.len(), |&cut| 1 + usize::from(cut));
        let (piece, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        carried.extend_from_slice(piece);
        let (chunk, mut at) = (Bytes::copy_from_slice(&carried), 0);
        loop {
            match parser.next(&chunk, &mut at) {
                Ok(Some(op)) => seen.push(shown(&op, &chunk)),
                Ok(None) => break,
                Err(error) => {
                    assert!(error.to_string().len() < 1_000);
                    return (seen, Some(std::mem::discriminant(&error)));
                }
            }
        }
        carried.drain(..at);
        assert!(parser.needed() > carried.len() && parser.needed() <= needed_max);
    }
    (seen, None)
}

/// An operation as bytes that can be compared.
fn shown(op: &Op, chunk: &Bytes) -> Vec<u8> {
    match op {
        Op::Message(found) => message_shown(&found.clone().incoming(chunk)),
        Op::TooLarge(large) => {
            assert!(large.bytes > LIMITS.header_bytes_max && large.message.payload().is_empty());
            let m = &large.message;
            let sizes = format!("large {} {} ", large.sid, large.bytes);
            [sizes.as_bytes(), subjects(m).as_bytes()].concat()
        }
        other => format!("{other:?}").into_bytes(),
    }
}

/// A message as bytes, all of its parts read on the way, and read again after it was written.
fn message_shown(incoming: &Incoming) -> Vec<u8> {
    let m = &incoming.message;
    assert!(m.bytes() <= m.pinned());
    m.headers().for_each(drop);
    m.reply_to().and_then(Delivery::parse);
    PublishReply::of(incoming.status, m.payload());
    if let Some(status) = incoming.status {
        PullStatus::of(status, incoming.description()).then();
        PullRest::of(m.raw_headers());
    }
    written_again(incoming);
    let head = format!(
        "{} {:?} {} ",
        incoming.sid,
        incoming.status,
        incoming.description()
    );
    let parts = [subjects(m).as_bytes(), m.raw_headers(), m.payload()].join(&b' ');
    [head.as_bytes(), &parts].concat()
}

/// A message's subjects and its size, which counts those that are no text too.
fn subjects(m: &Message) -> String {
    format!("{} {:?} {}", m.subject(), m.reply_to(), m.bytes())
}

/// Writes a message as a client does, turns that into what a server makes of it, and reads it: it is the same.
fn written_again(incoming: &Incoming) {
    let m = &incoming.message;
    let mut writer = Writer::new(WriteLimits::default());
    // A subject that is no text is read as none, and then refused; so is one with control characters.
    if writer.publish(m.subject(), m.reply_to(), m).is_err() {
        assert!(writer.is_empty());
        return;
    }
    let name = if m.raw_headers().is_empty() {
        "PUB "
    } else {
        "HPUB "
    };
    let behind = &writer.bytes()[name.len() + m.subject().len()..];
    let line = format!(
        "{}{} {}",
        name.replace("PUB", "MSG"),
        m.subject(),
        incoming.sid
    );
    let chunk = Bytes::from([line.as_bytes(), behind].concat());
    let mut at = 0;
    let Ok(Some(Op::Message(again))) = Parser::new(WireLimits::default()).next(&chunk, &mut at)
    else {
        panic!("what was written is no message");
    };
    let again = again.incoming(&chunk);
    let n = &again.message;
    assert_eq!((at, again.sid), (chunk.len(), incoming.sid));
    assert_eq!((n.subject(), n.reply_to()), (m.subject(), m.reply_to()));
    assert_eq!(
        (n.raw_headers(), n.payload()),
        (m.raw_headers(), m.payload())
    );
}

/// Every reader of a single text.
fn texts(data: &[u8]) {
    if let Some(block) = Block::parse(data) {
        headers::find(
            &data[block.headers.0..block.headers.1],
            "Nats-Pending-Bytes",
        );
    }
    PullRest::of(data);
    PublishReply::of(None, data);
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    PullStatus::of(409, text).then();
    if let Some(delivery) = Delivery::parse(text) {
        assert!(!delivery.stream.is_empty() && !delivery.consumer.is_empty());
    }
}
