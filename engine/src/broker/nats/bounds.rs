//! What a connection may need: the size of its buffers, for its own limits and for the engine's sum of memory.

use super::config::NatsSource;
use super::confirms::CONFIRMS_MAX;
use super::release::ATOMIC_SEND_BYTES;
use super::settings::ConnectionLimits;
use super::wire::write::WriteLimits;
use crate::config::EngineConfig;
use crate::limits::HandlerLimits;

/// Bytes of a write buffer that its growth may have beyond what is in it, and of the record of TLS that is being written or read.
const SLACK_BYTES: usize = 128 << 10;
/// Bytes that a send which waits for its confirmation takes: its place, its number and its time.
const CONFIRM_BYTES: usize = 64;

/// What may be written and not yet sent: at least one call's sends at their largest, so that an empty buffer has room for them.
pub(super) fn write_bytes_max<'a>(limits: impl Iterator<Item = &'a HandlerLimits>) -> usize {
    let of = |limits: &HandlerLimits| {
        // Each has at least a byte of a subject.
        let sends = limits.outbox_messages_max.min(limits.outbox_bytes_max);
        let lines = sends.saturating_mul(ATOMIC_SEND_BYTES);
        limits.outbox_bytes_max.saturating_add(lines)
    };
    let most = limits.map(of).max().unwrap_or(0);
    most.max(WriteLimits::default().buffer_bytes_max)
}

/// The most that the buffers of one shard's connection take; nothing without servers. See [`ConnectionLimits`].
pub(crate) fn connection_bytes(config: &EngineConfig) -> u64 {
    if config.nats.is_none() {
        return 0;
    }
    let limits = ConnectionLimits::default();
    let written = write_bytes_max(config.handlers.iter().map(|h| &h.limits));
    let streams = |h: &crate::config::HandlerConfig| matches!(h.nats, Some(NatsSource::Stream(_)));
    let confirms = match config.handlers.iter().any(streams) {
        true => CONFIRMS_MAX * CONFIRM_BYTES,
        false => 0,
    };
    let read = 2 * limits.read_bytes + limits.wire.payload_bytes_max;
    let parts = [read, written, 2 * SLACK_BYTES, confirms];
    parts
        .iter()
        .fold(0, |sum: u64, part| sum.saturating_add(*part as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::nats::{NatsConfig, ServerUrl, StreamSource};
    use crate::config::HandlerConfig;

    #[test]
    fn a_connections_bytes_are_those_of_its_buffers() {
        let mut config = EngineConfig::new().handler(HandlerConfig::file("a", "a.wasm"));
        assert_eq!(connection_bytes(&config), 0);
        let urls = ServerUrl::parse_list("a").expect("it is one");
        config.nats = Some(NatsConfig::new(urls));
        let core = connection_bytes(&config);
        assert_eq!(core, (128 << 10) + (1 << 20) + (16 << 20) + (256 << 10));
        config.handlers[0].limits.outbox_bytes_max = 64 << 20;
        let large = connection_bytes(&config);
        assert_eq!(large - core, (48 << 20) + 1_024 * 1_536);
        let source = NatsSource::Stream(StreamSource::existing("S", "d"));
        config.handlers[0].nats = Some(source);
        assert_eq!(connection_bytes(&config) - large, 4 << 20);
    }
}
