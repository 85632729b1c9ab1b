//! What a load came to, as its threads counted it.

use hdrhistogram::Histogram;

use super::sender::Sent;
use crate::core::counts::Counts;
use crate::core::recorder::Span;
use crate::core::series::Point;

/// What became of a stream's acknowledgements.
pub(crate) struct Acks {
    /// Their latencies.
    pub(crate) latency: Histogram<u64>,
    /// Acknowledgements that came.
    pub(crate) counts: Counts,
    /// Messages that none came for in time.
    pub(crate) unacked: u64,
    /// Those of them that are lost too.
    pub(crate) lost_too: u64,
}

/// What became of a load.
pub(crate) struct Outcome {
    /// Messages a second that were asked for.
    pub(crate) rate: Option<f64>,
    /// What the senders did, added up.
    pub(crate) sent: Sent,
    /// What came back.
    pub(crate) counts: Counts,
    /// Messages that did not.
    pub(crate) lost: u64,
    /// Messages that came back within the measured time.
    pub(crate) in_span: u64,
    /// Latencies.
    pub(crate) latency: Histogram<u64>,
    /// What became of a stream's acknowledgements, where messages are observed too.
    pub(crate) acks: Option<Acks>,
    /// Over time.
    pub(crate) points: Vec<Point>,
    /// What was said of the first message that was not taken.
    pub(crate) refusal: Option<String>,
    /// Connections that were lost.
    pub(crate) connections_lost: u64,
    /// What was to be measured.
    pub(crate) span: Span,
    /// What was measured: it ends before its time if the load did.
    pub(crate) measured: Span,
    /// Whether it was ended by a signal.
    pub(crate) cut: bool,
    /// What ended it before its time.
    pub(crate) error: Option<anyhow::Error>,
}

impl Outcome {
    /// Whether the load was ended before its time.
    pub(crate) fn ended_early(&self) -> bool {
        self.cut || self.measured.end_ns < self.span.end_ns
    }
}
