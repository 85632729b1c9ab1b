//! Before what a call sent is released: whether all of it can leave. The third part of the transport.
//!
//! Owns two promises: nothing of a call is sent if some of it is above what the server takes, so that the fault is the call's and the input
//! that causes it is found by splitting; and nothing of it is sent while there is no room for all of it.

use super::atomic::Atomic;
use super::control::DeliveryLevel;
use super::js::publish::{BATCH_HEADERS, STORE_HEADERS};
use super::takes::Take;
use super::transport::NatsTransport;
use crate::message::{HandlerId, Message};
use crate::outbox::Sends;
use crate::subject::INBOX;

/// Bytes that a send takes in the write buffer beside its subjects, headers and payload, at most: its line, and the subject of its
/// confirmation.
pub(super) const SEND_BYTES: usize = 192;
/// The same of one in an atomic batch: its ids too, in which stand the names of two streams and of the handler.
pub(super) const ATOMIC_SEND_BYTES: usize = 1_536;

impl NatsTransport {
    /// The release of what a call on these inputs sent begins. What can never leave is the error; else whether the sends of several
    /// inputs are one atomic batch.
    pub(super) fn may_release(
        &mut self,
        from: HandlerId,
        inputs: &[Message],
        release: u64,
        sends: Sends<'_>,
    ) -> Result<bool, String> {
        let mut atomic = None;
        if let Take::Stream(stream) = &self.desk.handlers[from.index()]
            && stream.level == DeliveryLevel::EffectivelyOnce
        {
            let runs = sends.runs();
            assert!(
                inputs.len() == 1 || !runs.is_empty(),
                "a call has one message, or it is known which send is for which"
            );
            let (name, seed) = (&stream.wanted.handler, self.desk.seed);
            let count = sends.len();
            atomic = Atomic::of((inputs, &runs), name, &stream.bound, release, count, seed);
        }
        self.desk.no_room = false;
        if self.connection.is_live() {
            let bytes_each = match atomic {
                Some(_) => ATOMIC_SEND_BYTES,
                None => SEND_BYTES,
            };
            let bytes = sends.bytes() + sends.len() * bytes_each;
            let room = self.connection.writer().has_room(bytes);
            let confirms = &mut self.desk.confirms;
            self.desk.no_room = !(room && confirms.has_room(sends.len(), self.now));
            // Of an atomic batch nothing is stored before its last send, and its headers are counted as they are written.
            if atomic.is_none() {
                self.can_leave(from, sends)?;
            }
        }
        let joint = atomic.as_ref().is_some_and(Atomic::has_several);
        self.desk.atomic = atomic;
        Ok(joint)
    }

    /// Whether the server takes a letter of this size; while there is no server, that is not known.
    pub(super) fn takes_letter(&mut self, from: HandlerId, letter: &Message) -> bool {
        if !self.connection.is_live() {
            return true;
        }
        let stream = matches!(self.desk.handlers[from.index()], Take::Stream(_));
        let dropped: &[&str] = if stream { &STORE_HEADERS } else { &[] };
        let (lines, payload) = (letter.raw_headers(), letter.payload());
        self.connection
            .writer()
            .check(dropped, lines, payload)
            .is_ok()
    }

    /// Whether each of these sends is within what the server takes: nearly always seen from the sum of all.
    fn can_leave(&mut self, from: HandlerId, sends: Sends<'_>) -> Result<(), String> {
        let writer = self.connection.writer();
        if writer.surely_takes(sends.bytes(), 0) {
            return Ok(());
        }
        for send in sends.iter() {
            if writer.surely_takes(send.headers.len(), send.payload.len()) {
                continue;
            }
            let subject = String::from_utf8_lossy(send.subject);
            let confirmed = match &self.desk.handlers[from.index()] {
                Take::Stream(stream) => stream.confirms(&subject),
                Take::Core { .. } | Take::Process => false,
            };
            let dropped: &[&str] = if confirmed { &BATCH_HEADERS } else { &[] };
            let within = writer.check(dropped, send.headers, send.payload);
            // A reply to a request of this process does not leave it.
            if let Err(fault) = within
                && !(subject.starts_with(INBOX) && self.process.is_asked_on(&subject))
            {
                return Err(format!("a send to {subject:?}: {fault}"));
            }
        }
        Ok(())
    }
}
