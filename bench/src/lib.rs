//! What the benches measure: the engine, and beside it the raw Wasmtime loop that it is made of.
//!
//! A ratio of two rates says what the engine adds, on any machine; a rate alone says little. Both sides therefore get the same
//! component, pool settings, records, metadata and number of messages a call, on the same core, in turn.
//!
//! Bias, as far as it is known:
//! * The raw loop has no publisher. It reads a few messages that stay in the cache, holds no limits, keeps no deadline, and
//!   counts nothing. The engine's messages come from another core. This is against the engine, and meant.
//! * No other thread of the process runs while the raw loop does; beside the engine the publisher runs, so that whatever changes
//!   the address space (`mprotect`, `madvise`) interrupts a second core. This is against the engine, and real.
//! * Rates are of the wall's clock. Beside them stand ratios of the time that each side's thread had of its core: on a machine
//!   where other processes run too, only these can be believed.
//! * Messages are built beforehand, on both sides: the publisher clones one of a ring of them, so that no two messages in flight
//!   share a reference count. The publisher's own time does not count, as long as the shard never waits for it; that is checked
//!   through the mean batch.
//! * Of contract 3, calls of more than 64 messages get packs, which their publisher laid out before the clock starts; the raw loop's batch is
//!   laid out beforehand too. Beside that stand both with messages that they lay out themselves (`in messages`): the raw loop copies each from
//!   one place, the engine out of memory that another core wrote.
//! * The publisher rests for some microseconds when the engine is full, rather than ask again at once: asking writes the cache
//!   line that the shard writes too.
//! * What `echo` sends goes to a subject that nobody listens on. Of contract 1 the raw loop copies subject and payload into one buffer that it
//!   uses again, as the engine does; of contract 3 neither copies them: the raw loop adds up how long each send's parts are, the engine checks
//!   them, keeps what they are and where they lie, looks their route up and counts them.
//! * A round of the engine ends when its last message is settled; the last of its thousands of instances is dropped after that.

pub mod clock;
pub mod cores;
pub mod engine;
pub mod goals;
pub mod groups;
pub mod guest;
pub mod instructions;
pub mod load;
pub mod lone_test;
pub mod nats;
pub mod notes;
pub mod parts;
pub mod perf;
pub mod raw;
pub mod record;
pub mod report;
pub mod reset;
pub mod scale;
pub mod single;
pub mod sources;
pub mod warm;
