//! The network before the scripted broker: answers to sends, reports that are late, lost or repeated, and lost connections.

use std::time::Duration;

use crate::broker::{Back, ScriptedBroker};
use crate::confirm::{Report, SendId, Sent, Unsent};
use crate::scenario::{OUT_DENIED, OUT_PLAIN, OUT_REFUSED};
use crate::time::Instant;
use crate::wire;

/// How late a report comes that comes far too late: above the longest wait for one.
const FAR_TOO_LATE: Duration = Duration::from_millis(80);

/// What becomes of sends.
impl ScriptedBroker {
    /// Has the shard told what became of a send.
    fn will_report(&mut self, id: SendId, result: Result<(), Unsent>, now: Instant) {
        let harmful = now < self.calm;
        let delay = Duration::from_nanos(1) + self.rng.up_to(self.network.report_delay);
        if harmful && self.rng.chance(self.network.lost) {
            return;
        }
        let late = harmful && self.rng.chance(self.network.late);
        let at = if late {
            now + FAR_TOO_LATE
        } else {
            now + delay
        };
        let report = Report { id, result };
        let number = self.number();
        if harmful && self.rng.chance(self.network.repeated) {
            let again = at + self.rng.up_to(self.network.report_delay * 3);
            let number = self.number();
            self.reports.insert((again, number), report.clone());
        }
        self.reports.insert((at, number), report);
    }

    /// Takes what is to be stored: its confirmation comes later.
    fn store(&mut self, id: SendId, refused: u32, now: Instant) -> Sent {
        let harmful = now < self.calm;
        let down = now < self.down_until;
        let result = match () {
            () if down => Err(Unsent::Disconnected),
            () if harmful && self.rng.chance(refused) => Err(Unsent::Refused("no room".into())),
            () => Ok(()),
        };
        self.will_report(id, result, now);
        Sent::Pending
    }

    /// What a send is told at once.
    pub(crate) fn answer(&mut self, subject: &str, id: SendId, now: Instant) -> Sent {
        let harmful = now < self.calm;
        match subject {
            OUT_PLAIN => Sent::Done,
            OUT_REFUSED => Sent::Refused("not here".into()),
            OUT_DENIED => {
                self.will_report(id, Err(Unsent::Refused("denied".into())), now);
                Sent::Pending
            }
            _ if harmful && self.rng.chance(self.network.refused_at_once) => {
                Sent::Refused("no stream".into())
            }
            _ => self.store(id, self.network.refused, now),
        }
    }

    /// What a dead letter is told at once.
    pub(crate) fn answer_letter(&mut self, id: SendId, now: Instant) -> Sent {
        let refused = self.network.letters_refused;
        if self.network.letters_stored {
            return self.store(id, refused, now);
        }
        match now < self.calm && self.rng.chance(refused) {
            true => Sent::Refused("nobody took it".into()),
            false => Sent::Done,
        }
    }
}

/// What a lost connection does.
impl ScriptedBroker {
    /// Loses the connection, if its time has come.
    pub(crate) fn lose_connection(&mut self, now: Instant) {
        while let Some((_, until)) = self.disconnects.pop_front_if(|(at, _)| *at <= now) {
            self.down_until = self.down_until.max(until);
            self.world.borrow_mut().ledger.tally.disconnects += 1;
            self.lose_reports(now);
            self.lose_acks();
            self.shuffle_back(until);
        }
    }

    /// What was to be reported is not heard of, or known to be lost.
    fn lose_reports(&mut self, now: Instant) {
        for (_, report) in std::mem::take(&mut self.reports) {
            if self.rng.chance(500) {
                let number = self.number();
                let result = Err(Unsent::Disconnected);
                self.reports
                    .insert((now, number), Report { result, ..report });
            }
        }
    }

    /// Acks that did not arrive: their messages come again, as new ones.
    fn lose_acks(&mut self) {
        for serial in std::mem::take(&mut self.acked) {
            if self.rng.chance(self.network.acks_lost) {
                self.world.borrow_mut().ledger.tally.acks_lost += 1;
                let handler = self.specs[serial as usize].handler;
                self.backlog[handler.index()].push_back(serial);
            }
        }
    }

    /// What was given back comes as fresh copies, in another order.
    fn shuffle_back(&mut self, until: Instant) {
        let back = std::mem::take(&mut self.back);
        for (_, back) in back {
            let at = until + self.rng.up_to(Duration::from_millis(5));
            let number = self.number();
            let fresh = match back {
                Back::Kept(message, _) => {
                    let serial = wire::serial(&message).expect("the broker put it there");
                    Back::Fresh(serial, message.id)
                }
                fresh => fresh,
            };
            self.back.insert((at, number), fresh);
        }
    }
}
