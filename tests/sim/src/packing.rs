//! The packs of the scripted broker: published whole, admitted as far as there is room.

use std::ops::Range;
use std::rc::Rc;

use crate::broker::ScriptedBroker;
use crate::message::HandlerId;
use crate::pack::Pack;
use crate::time::Instant;
use crate::wire;

/// A pack that was published and is not admitted, or only in part.
#[derive(Clone)]
pub(crate) struct Published {
    /// The serial numbers of its messages.
    serials: Rc<[u64]>,
    /// How many from the front were admitted.
    admitted: usize,
}

impl Published {
    /// Nothing of it is admitted.
    pub(crate) fn new(serials: &Rc<[u64]>) -> Self {
        Self {
            serials: Rc::clone(serials),
            admitted: 0,
        }
    }
}

impl ScriptedBroker {
    /// How many messages of a handler's next pack may be admitted.
    pub(crate) fn fitting_part(&self, index: usize) -> usize {
        let Some(pack) = self.packed[index].front() else {
            return 0;
        };
        let mut load = self.loads[index];
        let fits = |serial: &&u64| {
            load = load.plus(self.load(**serial));
            load.within(self.bounds[index])
        };
        pack.serials[pack.admitted..]
            .iter()
            .take_while(fits)
            .count()
    }

    /// Admits the next pack of a handler, or as much of it as fits, if any does.
    pub(crate) fn next_pack(&mut self, index: usize, now: Instant) -> Option<(HandlerId, Pack)> {
        let count = self.fitting_part(index);
        let pack = self.packed[index].front_mut().filter(|_| count > 0)?;
        let (serials, from) = (Rc::clone(&pack.serials), pack.admitted);
        pack.admitted += count;
        if pack.admitted == serials.len() {
            self.packed[index].pop_front();
        }
        let part = from..from + count;
        for serial in &serials[part.clone()] {
            self.loads[index] = self.loads[index].plus(self.load(*serial));
        }
        let handler = HandlerId(index as u32);
        Some((handler, self.hand_over(handler, &serials, part, now)))
    }

    /// A part of a pack as it comes to the shard: in the buffer of the whole.
    fn hand_over(
        &mut self,
        handler: HandlerId,
        serials: &[u64],
        part: Range<usize>,
        now: Instant,
    ) -> Pack {
        let ids: Vec<_> = part.clone().map(|_| self.id()).collect();
        let id = |place: usize| {
            place
                .checked_sub(part.start)
                .and_then(|place| ids.get(place))
        };
        let whole: Vec<_> = serials
            .iter()
            .enumerate()
            .map(|(place, serial)| self.incoming(*serial, id(place).copied().unwrap_or(0), now))
            .collect();
        let mut world = self.world.borrow_mut();
        let (pack, read) = wire::lay_out(&whole, part, world.bytes_read);
        world.buffers_read += 1;
        world.bytes_read += read.bytes;
        world.ledger.tally.packs_parted += u64::from(pack.len() < whole.len());
        let taken = world.ledger.pack_came(handler, &pack, now);
        match whole.len() {
            // A message that has a buffer to itself may keep it.
            1 => {}
            _ if taken => world.packs.push((read, ids)),
            _ => world.reads.push(read),
        }
        drop(world);
        pack
    }
}
