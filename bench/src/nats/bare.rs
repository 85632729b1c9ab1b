//! The services on a bare blocking socket: as little as can be done.

use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::{Result, ensure};

use super::consume::{ASKED, CONSUMER_PULLS, PAYLOADS, PULL_MESSAGES, STREAM};
use super::role::Ready;
use super::wire::{Wire, number};
use crate::guest::PAYLOAD_BYTES;

/// Answers requests for good; an answer is counted before it is sent.
pub(super) fn echo(address: &str, subject: &str, handled: &AtomicU64, ready: Ready) -> Result<()> {
    let mut wire = Wire::connect(address)?;
    wire.say(&format!("SUB {subject} q 1"));
    wire.settle()?;
    ready.is();
    loop {
        wire.fill()?;
        let mut count = 0;
        wire.drain(|came, out| {
            count += 1;
            out.extend_from_slice(b"PUB ");
            out.extend_from_slice(came.reply);
            out.push(b' ');
            put_number(out, came.payload.len());
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(came.payload);
            out.extend_from_slice(b"\r\n");
        })?;
        handled.fetch_add(count, Ordering::Release);
        wire.flush()?;
    }
}

/// Consumes and acks until `messages` have come, then idles.
pub(super) fn consume(
    address: &str,
    durable: &str,
    messages: u64,
    handled: &AtomicU64,
    ready: Ready,
) -> Result<()> {
    let mut wire = Wire::connect(address)?;
    wire.say("SUB _INBOX.bare.* 1");
    let pull = format!(
        "PUB $JS.API.CONSUMER.MSG.NEXT.{STREAM}.{durable} _INBOX.bare.p {}\r\n{ASKED}\r\n",
        ASKED.len()
    );
    (0..CONSUMER_PULLS).for_each(|_| wire.out.extend_from_slice(pull.as_bytes()));
    wire.settle()?;
    ready.is();
    let (mut count, mut sum, mut bad) = (0, 0, 0_u64);
    while count < messages {
        wire.fill()?;
        wire.drain(|came, out| {
            if came.reply.is_empty() {
                // A heartbeat.
                bad += u64::from(!came.head.starts_with(b"NATS/1.0 100"));
                return;
            }
            let (digits, _) = came.payload.split_at(PAYLOADS);
            sum += number(digits) as u64;
            bad += u64::from(came.payload.len() != PAYLOAD_BYTES);
            count += 1;
            out.extend_from_slice(b"PUB ");
            out.extend_from_slice(came.reply);
            out.extend_from_slice(b" 0\r\n\r\n");
            if count % PULL_MESSAGES == 0 {
                out.extend_from_slice(pull.as_bytes());
            }
        })?;
        wire.flush()?;
    }
    ensure!(bad == 0, "{bad} messages were not as stored");
    ensure!(
        sum == messages * (messages - 1) / 2,
        "other messages than were stored"
    );
    handled.store(count, Ordering::Release);
    Ok(())
}

/// Writes a number in decimal.
fn put_number(out: &mut Vec<u8>, number: usize) {
    let mut digits = [0; 20];
    let (mut at, mut left) = (digits.len(), number);
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
