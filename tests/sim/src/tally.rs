//! How often what happened, over one run or many: so that one sees that everything was exercised.

use std::fmt;

macro_rules! tally {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// Counts of what happened.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Tally {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Tally {
            /// Adds another's counts.
            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// Every count by its name.
            #[must_use]
            pub fn rows(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

tally! {
    /// Runs.
    seeds
    /// Turns of the shard.
    turns
    /// Messages that came, those that came again under another id included.
    messages
    /// Calls.
    calls
    /// Calls of which some sends failed and it was known whose they were.
    attributed
    /// Calls that failed.
    faults
    /// Batches that failed and were or could not be split.
    splits
    /// Calls of their parts.
    split_calls
    /// Splits that their bound on calls, or on time, ended.
    split_ends
    /// Messages that splitting took too long for.
    split_overdue
    /// Calls that were suspended, each time.
    suspensions
    /// Direct calls that overran their slice.
    overruns
    /// Overruns of calls that were short when they were made again.
    overruns_forgotten
    /// Calls that found no slot.
    slots_refused
    /// Sends that were released.
    sends
    /// Sends that were refused.
    refusals
    /// Releases that were refused as a whole.
    releases_refused
    /// Reports that came again, or too late.
    repeated
    /// Packs that came, or parts of them that did.
    packs
    /// Those that came in part, since there was no room for more.
    packs_parted
    /// Those whose handler takes messages one by one.
    packs_opened
    /// Those of several messages whose handler takes them as they are.
    packs_several
    /// Calls of packs.
    pack_calls
    /// Those that left some of a pack behind.
    packs_cut
    /// Those of several packs.
    packs_joined
    /// Those made while messages of their handler waited that were in no pack.
    packs_beside
    /// Calls of other messages made while packs of their handler waited.
    packs_passed
    /// Calls of packs that found no slot.
    packs_refused
    /// Calls of packs that overran their slice.
    packs_overran
    /// Calls of packs that were suspended, each time.
    packs_suspended
    /// Calls of several messages in packs that failed, which were treated apart then.
    packs_failed
    /// Packs that were handled as a whole.
    packs_settled
    /// Messages in packs that were settled apart since the guest said something, or sends had to be confirmed.
    packed_apart
    /// Messages that were shed in their packs.
    packed_shed
    /// Releases that waited too long.
    overdue
    /// Configuration updates.
    updates
    /// Dead letters, each time that one was sent.
    letters
    /// Dead letters that were not taken.
    letters_again
    /// Messages handled.
    acks
    /// Messages given back.
    naks
    /// Messages given up on.
    terms
    /// Messages shed.
    sheds
    /// Pauses of handlers.
    pauses
    /// Times that the connection was lost.
    disconnects
    /// Messages that came back as fresh copies.
    fresh_copies
    /// Messages that came again since their ack was lost.
    acks_lost
    /// Changes of limits.
    limit_changes
    /// Rests with messages behind others of their subject.
    rests_held
    /// Rests with messages of a handler that has as many suspended calls as it may have.
    rests_full
    /// Rests with messages of a paused handler.
    rests_paused
    /// Rests with messages that wait for others to share their call.
    rests_lingering
    /// Rests with messages behind unconfirmed batches.
    rests_unconfirmed
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<_> = self
            .rows()
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        f.write_str(&rows.join(", "))
    }
}
