//! Sends and dead letters: released once and in order, and what follows from what becomes of them.

use crate::confirm::{Report, SendId, Sent, Unsent};
use crate::letter;
use crate::message::{HandlerId, Message};
use crate::outbox::{GuestConfiguration, Mark};
use crate::outcome::FaultKind;
use crate::time::Instant;
use crate::wire::{Origin, serial};

use super::{Expect, Ledger, State};

/// Why a send failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Somebody said no.
    Refused,
    /// Nobody said anything.
    Lost,
}

/// Who waits for a send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sendee {
    /// The call that made it, or the message whose letter it is.
    whose: Whose,
    pending: bool,
}

#[derive(Debug, Clone, Copy)]
enum Whose {
    Call {
        number: u64,
        /// The message that it is for.
        input: u64,
    },
    Letter(u64),
}

impl Ledger {
    /// The broker got a send of a guest, and answered.
    pub(crate) fn sent(&mut self, message: &Message, send: SendId, sent: &Sent, now: Instant) {
        let Some(origin) = Origin::decode(message.payload()) else {
            return self.violate(|| "a send is not what the guest made".into());
        };
        let Origin {
            call: number,
            index,
            input,
        } = origin;
        self.note(now, "send", [number, u64::from(index), input]);
        self.tally.sends += 1;
        let Some(record) = self.calls.get_mut(number as usize) else {
            return self.violate(|| format!("a send of call {number}, which never was"));
        };
        let (result, next, of, overran) =
            (record.result, record.released, record.sends, record.overran);
        record.released += 1;
        self.check(result == Some(Ok(())) && !overran, || {
            format!("a send of call {number} is released, which ended with {result:?}, overran: {overran}")
        });
        self.check(index == next && next < of, || {
            format!("send {index} of call {number} is released as its {next}th of {of}")
        });
        self.check(self.calls[number as usize].ids.contains(&input), || {
            "a send of another call's input".into()
        });
        let whose = Whose::Call { number, input };
        self.keep_send(send, whose, matches!(sent, Sent::Pending));
        let record = &mut self.calls[number as usize];
        record.pending += u32::from(matches!(sent, Sent::Pending));
        record.apart |= *sent != Sent::Done;
        if matches!(sent, Sent::Refused(_)) {
            self.tally.refusals += 1;
            record.failures.push((input, Failure::Refused));
        }
        if record.released < record.sends {
            return;
        }
        match record.pending {
            0 => self.resolve(number, now),
            _ => {
                let handler = record.handler;
                self.books[handler.index()].unconfirmed += 1;
                self.open_calls.push(number);
            }
        }
    }

    fn keep_send(&mut self, send: SendId, whose: Whose, pending: bool) {
        let before = self.sends.insert(send, Sendee { whose, pending });
        let clashes = before.is_some_and(|before| before.pending);
        self.check(!clashes, || {
            format!("{send:?} is the name of two sends that wait")
        });
    }

    /// A configuration update was released.
    pub(crate) fn updated(&mut self, update: &GuestConfiguration, now: Instant) {
        let numbers = update.extensions.iter().filter(|(key, _)| key == "call");
        let number = numbers
            .filter_map(|(_, value)| value.parse::<u64>().ok())
            .next();
        self.note(now, "update", [number.unwrap_or_default(), 0, 0]);
        self.tally.updates += 1;
        let record = number.and_then(|number| self.calls.get_mut(number as usize));
        let good = record.is_some_and(|record| {
            let released = record.result == Some(Ok(())) && std::mem::take(&mut record.updates);
            released && !record.overran
        });
        self.check(good, || {
            format!("an update of call {number:?}, which made none that counts")
        });
    }

    /// The shard is told what became of a send.
    pub(crate) fn reported(&mut self, report: &Report, now: Instant) {
        let Report { id, result } = report;
        self.note(
            now,
            "report",
            [id.release, u64::from(id.index), u64::from(result.is_ok())],
        );
        let Some(sendee) = self.sends.get_mut(id) else {
            return;
        };
        if !std::mem::replace(&mut sendee.pending, false) {
            self.tally.repeated += 1;
            return;
        }
        let failure = match result {
            Ok(()) => None,
            Err(Unsent::Refused(_)) => Some(Failure::Refused),
            Err(Unsent::Disconnected) => Some(Failure::Lost),
        };
        self.tally.refusals += u64::from(failure == Some(Failure::Refused));
        match sendee.whose {
            Whose::Call { number, input } => {
                let record = &mut self.calls[number as usize];
                record.pending -= 1;
                record.failures.extend(failure.map(|why| (input, why)));
                if record.pending == 0 && record.released == record.sends {
                    self.close(number, now);
                }
            }
            Whose::Letter(id) => self.letter_over(id, failure),
        }
    }

    /// All reports of a turn are in: what has waited too long counts as lost.
    pub(crate) fn overdue(&mut self, now: Instant) {
        let late = |number: &u64| {
            self.calls[*number as usize]
                .until
                .is_some_and(|until| until <= now)
        };
        let calls: Vec<u64> = self.open_calls.iter().copied().filter(late).collect();
        for number in calls {
            self.tally.overdue += 1;
            let of = |whose: &Whose| match whose {
                Whose::Call { number: n, input } if *n == number => Some(*input),
                _ => None,
            };
            let late = self.sends.values().filter(|send| send.pending);
            let lost: Vec<_> = late.filter_map(|send| of(&send.whose)).collect();
            let record = &mut self.calls[number as usize];
            let lost = lost.into_iter().map(|input| (input, Failure::Lost));
            record.failures.extend(lost);
            self.forget(|whose| of(whose).is_some());
            self.close(number, now);
        }
        let letters: Vec<u64> = self
            .open_letters
            .iter()
            .filter(|(_, until)| *until <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in letters {
            self.tally.overdue += 1;
            self.forget(|whose| matches!(whose, Whose::Letter(other) if *other == id));
            self.letter_over(id, Some(Failure::Lost));
        }
    }

    /// Nothing is waited for any more of these sends.
    fn forget(&mut self, is: impl Fn(&Whose) -> bool) {
        let sends = self
            .sends
            .values_mut()
            .filter(|s| s.pending && is(&s.whose));
        sends.for_each(|s| s.pending = false);
    }

    fn close(&mut self, number: u64, now: Instant) {
        self.open_calls.retain(|other| *other != number);
        let handler = self.calls[number as usize].handler;
        self.books[handler.index()].unconfirmed -= 1;
        self.resolve(number, now);
    }

    /// Everything is known of a call that ended well: what must become of its messages.
    pub(crate) fn resolve(&mut self, number: u64, now: Instant) {
        let record = &self.calls[number as usize];
        let (handler, attributes) = (record.handler, record.attributes);
        let failures = record.failures.clone();
        let first = failures.first().map(|(_, why)| *why);
        let inputs: Vec<_> = record
            .ids
            .iter()
            .copied()
            .zip(record.marks.clone())
            .collect();
        self.note(
            now,
            "resolved",
            [number, u64::from(first.is_none()), inputs.len() as u64],
        );
        self.books[handler.index()].counts.unsent += u64::from(first.is_some());
        self.tally.attributed += u64::from(attributes && first.is_some());
        let known = inputs.len() == 1 || attributes;
        for (id, mark) in inputs {
            let mut own = failures.iter().filter(|(input, _)| *input == id);
            let failure = match attributes {
                true => own.next().map(|(_, why)| *why),
                false => first,
            };
            let state = match failure {
                None if matches!(mark, Some(Mark::Abandoned { .. })) => {
                    State::Resolved(Expect::Attempt(FaultKind::Abandoned))
                }
                None => State::Resolved(Expect::Ack),
                Some(Failure::Refused) if known => {
                    State::Resolved(Expect::Attempt(FaultKind::Refused))
                }
                Some(Failure::Refused) if self.ordered => State::Queued,
                Some(Failure::Refused) => State::Resolved(Expect::Retry),
                Some(Failure::Lost) => State::Resolved(Expect::Later),
            };
            let ordered = self.ordered;
            let delivery = self.delivery(id);
            delivery.lost += u32::from(failure == Some(Failure::Lost));
            delivery.alone |= failure == Some(Failure::Refused) || (failure.is_some() && ordered);
            self.set_state(id, state);
        }
    }

    /// The broker got a dead letter, and answered.
    pub(crate) fn letter(&mut self, message: &Message, send: SendId, sent: &Sent, now: Instant) {
        let number = serial(message).unwrap_or(u64::MAX);
        self.note(now, "letter", [number, send.release, 0]);
        let live = self.live.get(number as usize).cloned().unwrap_or_default();
        let given_up = |id: &u64| match self.deliveries[*id as usize - 1].state {
            State::Resolved(Expect::Attempt(_)) => true,
            State::Lettered { pending, .. } => !pending,
            _ => false,
        };
        let Some(id) = live.into_iter().find(given_up) else {
            return self
                .violate(|| format!("a letter of message {number}, which was not given up on"));
        };
        self.tally.letters += 1;
        let delivery = self.delivery(id);
        let kind = match delivery.state {
            State::Resolved(Expect::Attempt(kind)) => {
                delivery.attempts += 1;
                kind
            }
            State::Lettered { kind, .. } => kind,
            _ => return,
        };
        let (handler, attempts) = (delivery.handler, delivery.attempts);
        self.check_letter(message, handler, kind, attempts);
        self.keep_send(send, Whose::Letter(id), matches!(sent, Sent::Pending));
        let pending = State::Lettered {
            kind,
            pending: true,
        };
        self.set_state(id, pending);
        match sent {
            Sent::Done => self.letter_over(id, None),
            Sent::Refused(_) => self.letter_over(id, Some(Failure::Refused)),
            Sent::Pending => {
                let until = now + self.books[handler.index()].limits.confirm_wait_max;
                self.open_letters.push((id, until));
            }
        }
    }

    fn check_letter(
        &mut self,
        message: &Message,
        handler: HandlerId,
        kind: FaultKind,
        attempts: u32,
    ) {
        let book = &self.books[handler.index()];
        let most = book.limits.deliveries_max;
        let header = |name: &str| {
            message
                .headers()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_owned())
        };
        let spec = &self.specs[serial(message).unwrap_or_default() as usize];
        let (subject, size) = (spec.subject.clone(), spec.payload_bytes);
        let wanted = [
            (letter::REASON, kind.name().to_owned()),
            (letter::ATTEMPTS, attempts.to_string()),
            (letter::HANDLER, book.name.clone()),
            (letter::COMPONENT, book.component.clone()),
            (letter::SUBJECT, subject),
            ("N", "1".to_owned()),
        ];
        let wrong = wanted
            .iter()
            .find(|(key, value)| header(key).as_ref() != Some(value));
        let wrong = wrong.map(|(key, value)| format!("{key} {:?}, not {value:?}", header(key)));
        let complete = [letter::DETAIL, letter::ARRIVED, letter::FAILED]
            .iter()
            .all(|key| header(key).is_some());
        let to = book.dead_letter.as_deref() == Some(message.subject());
        let first = self.first_letter_of_turn(message);
        self.check(wrong.is_none(), || {
            format!("a letter says {}", wrong.unwrap_or_default())
        });
        self.check(complete && to && message.payload().len() == size, || {
            "a letter lacks something".into()
        });
        self.check(attempts >= most || !first, || {
            format!("a letter after {attempts} attempts, {most} may be")
        });
    }

    /// Whether a letter is the first of its message: later ones may meet other limits.
    fn first_letter_of_turn(&self, message: &Message) -> bool {
        let live = serial(message).and_then(|number| self.live.get(number as usize));
        let resolved =
            |id: &u64| matches!(self.deliveries[*id as usize - 1].state, State::Resolved(_));
        live.is_some_and(|live| live.iter().any(resolved))
    }

    fn letter_over(&mut self, id: u64, failure: Option<Failure>) {
        self.open_letters.retain(|(other, _)| *other != id);
        let delivery = self.delivery(id);
        let (state, handler) = (delivery.state, delivery.handler);
        let State::Lettered { kind, .. } = state else {
            return;
        };
        let counts = &mut self.books[handler.index()].counts;
        match failure {
            None => {
                counts.dead_lettered += 1;
                self.set_state(id, State::Resolved(Expect::Term(kind)));
            }
            Some(_) => {
                counts.unsent += 1;
                self.tally.letters_again += 1;
                self.set_state(
                    id,
                    State::Lettered {
                        kind,
                        pending: false,
                    },
                );
            }
        }
    }
}
