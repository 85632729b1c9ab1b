//! The load of the echo: so many requests outstanding, each answer compared with its request.

use std::time::Duration;

use wasmtime::{Result, ensure};

use super::wire::{Wire, number};
use crate::clock;
use crate::guest::PAYLOAD_BYTES;

/// Requests outstanding.
pub(super) const OUTSTANDING: usize = 1_024;
/// Digits of a request's number.
const DIGITS: usize = 12;
/// Digits of a place among the outstanding, at the end of its reply subject.
const PLACE_DIGITS: usize = 4;
/// What each request has as its header block.
const HEAD: &str = "NATS/1.0\r\nkind: bench\r\n\r\n";

/// One of the outstanding requests, as it is sent.
struct Place {
    request: Vec<u8>,
}

/// A client that asks one service.
pub(super) struct Load {
    wire: Wire,
    places: Vec<Place>,
    next: u64,
}

/// What a round of it did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) messages: u64,
    pub(super) elapsed: Duration,
}

impl Load {
    /// A client of the service on this subject; with a header on each request, or without.
    pub(super) fn new(address: &str, subject: &str, head: bool) -> Result<Self> {
        let mut wire = Wire::connect(address)?;
        let inbox = format!("_INBOX.load-{subject}");
        wire.say(&format!("SUB {inbox}.* 1"));
        wire.settle()?;
        let place = |place| {
            let mut request = match head {
                true => format!(
                    "HPUB {subject} {inbox}.{place:0PLACE_DIGITS$} {} {}\r\n{HEAD}",
                    HEAD.len(),
                    HEAD.len() + PAYLOAD_BYTES
                ),
                false => {
                    format!("PUB {subject} {inbox}.{place:0PLACE_DIGITS$} {PAYLOAD_BYTES}\r\n")
                }
            }
            .into_bytes();
            request.extend_from_slice(&[b'x'; PAYLOAD_BYTES]);
            request.extend_from_slice(b"\r\n");
            Place { request }
        };
        Ok(Self {
            wire,
            places: (0..OUTSTANDING).map(place).collect(),
            next: 0,
        })
    }

    /// Asks for at least this long, then waits for the last answers.
    pub(super) fn run(&mut self, time: Duration) -> Result<Asked> {
        let begun = clock::now();
        let first = self.next;
        let (places, next) = (&mut self.places, &mut self.next);
        for place in &mut *places {
            ask(place, next, &mut self.wire.out);
        }
        self.wire.flush()?;
        let (mut open, mut wrong, mut over) = (places.len(), 0_u64, false);
        while open > 0 {
            self.wire.fill()?;
            self.wire.drain(|came, out| {
                let at = came.subject.len() - PLACE_DIGITS;
                let place = &mut places[number(&came.subject[at..])];
                wrong += u64::from(payload(place) != came.payload);
                match over {
                    true => open -= 1,
                    false => ask(place, next, out),
                }
            })?;
            self.wire.flush()?;
            over = over || clock::now() - begun >= time;
        }
        ensure!(wrong == 0, "{wrong} answers were not what was asked");
        Ok(Asked {
            messages: *next - first,
            elapsed: clock::now() - begun,
        })
    }
}

/// Sends the next request in this place.
fn ask(place: &mut Place, next: &mut u64, out: &mut Vec<u8>) {
    let at = place.request.len() - 2 - PAYLOAD_BYTES;
    let mut left = *next;
    for digit in place.request[at..at + DIGITS].iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
    *next += 1;
    out.extend_from_slice(&place.request);
}

fn payload(place: &Place) -> &[u8] {
    let end = place.request.len() - 2;
    &place.request[end - PAYLOAD_BYTES..end]
}
