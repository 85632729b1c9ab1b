//! Where a handler's sends and dead letters go: which streams capture them, and whether these can keep its delivery level.

use std::rc::Rc;
use std::time::Duration;

use super::captured::{CAPTURED_SUBJECTS_MAX, Captured};
use super::error::{BindError, LetterFault, OutputFault, StreamFault};
use super::json::{ConsumerConfig, StreamInfo, nanos_since_1970};
use super::stream::Streams;
use super::wanted::{Bound, DeliveryLevel, Output, Wanted, Warning};
use crate::patterns::{contains, overlap};
use crate::subject::matches;

/// The first version of nats-server that has atomic batches.
const ATOMIC_SINCE: (u32, u32) = (2, 12);

/// Checks a handler's dead letters and outputs, and says what it is bound to.
///
/// # Errors
/// The first check that fails; the server can't be asked.
pub(super) async fn bind(
    streams: &mut Streams<'_>,
    wanted: &Wanted,
    consumer: ConsumerConfig,
) -> Result<Bound, BindError> {
    let input_fault = |why| BindError::Stream {
        handler: wanted.handler.clone(),
        stream: wanted.stream.clone(),
        why,
    };
    let input = streams.info(&wanted.stream).await?;
    let input = input.ok_or_else(|| input_fault(StreamFault::Missing))?;
    let created = nanos_since_1970(&input.created);
    let created =
        created.ok_or_else(|| input_fault(StreamFault::Created(input.created.clone())))?;
    let filters = consumer.filters();
    letters(streams, wanted, &filters).await?;
    let (ack_wait, ack_wait_max) = consumer.ack_waits();
    let output = match wanted.delivery {
        DeliveryLevel::EffectivelyOnce => output(streams, wanted, ack_wait_max).await?,
        _ => None,
    };
    let captured = match wanted.delivery {
        DeliveryLevel::AtMostOnce => Captured::default(),
        _ => captured(streams, &wanted.handler, &wanted.publishes).await?,
    };
    let some = |number: u64| (number > 0).then_some(number);
    Ok(Bound {
        handler: wanted.handler.clone(),
        stream: wanted.stream.clone(),
        stream_created: created,
        consumer: wanted.durable.clone(),
        ack_wait,
        max_ack_pending: consumer.max_ack_pending,
        max_waiting: consumer.max_waiting,
        max_request_batch: some(consumer.max_batch),
        max_request_bytes: some(consumer.max_bytes),
        max_request_expires: some(consumer.max_expires).map(Duration::from_nanos),
        captured,
        output,
        warnings: warnings(wanted, &consumer, &input),
        filter_subjects: filters,
    })
}

/// Which streams capture what, of what these patterns stand for.
///
/// # Errors
/// Too many streams or subjects; a stream that confirms nothing; the server can't be asked.
pub(super) async fn captured(
    streams: &mut Streams<'_>,
    handler: &str,
    publishes: &[String],
) -> Result<Captured, BindError> {
    let fault = |why| output_fault(handler, why);
    let mut found: Vec<Rc<StreamInfo>> = Vec::new();
    for pattern in publishes {
        for stream in streams.overlapping(pattern).await? {
            if stream.is("no_ack") {
                let (stream, pattern) = (stream.name().to_owned(), pattern.clone());
                return Err(fault(OutputFault::NoAck { stream, pattern }));
            }
            if !found.iter().any(|known| known.name() == stream.name()) {
                found.push(stream);
            }
        }
    }
    let mut captured = Captured::default();
    for stream in found {
        let counts = |subject: &&str| publishes.iter().any(|pattern| overlap(pattern, subject));
        let bad = |error: crate::subject::SubjectError| BindError::Stream {
            handler: handler.to_owned(),
            stream: stream.name().to_owned(),
            why: StreamFault::Subject(error),
        };
        let subjects = stream.subjects().filter(counts);
        captured.add(stream.name(), subjects).map_err(bad)?;
        if captured.len() > CAPTURED_SUBJECTS_MAX {
            return Err(fault(OutputFault::TooManySubjects {
                found: captured.len(),
                max: CAPTURED_SUBJECTS_MAX,
            }));
        }
    }
    Ok(captured)
}

/// Checks that dead letters are kept, and do not come back.
async fn letters(
    streams: &mut Streams<'_>,
    wanted: &Wanted,
    filters: &[String],
) -> Result<(), BindError> {
    let Some(subject) = &wanted.dead_letter else {
        return Ok(());
    };
    let fault = |why| BindError::DeadLetter {
        handler: wanted.handler.clone(),
        subject: subject.clone(),
        why,
    };
    let found = streams.overlapping(subject).await?;
    let Some(stream) = found.first() else {
        return Err(fault(LetterFault::NoStream));
    };
    if stream.is("no_ack") {
        return Err(fault(LetterFault::NoAck(stream.name().to_owned())));
    }
    let filter = filters.iter().find(|filter| matches(filter, subject));
    if stream.name() == wanted.stream && (filters.is_empty() || filter.is_some()) {
        return Err(fault(LetterFault::Loop {
            stream: wanted.stream.clone(),
            filter: filter.cloned(),
        }));
    }
    Ok(())
}

/// The one stream that takes an input's sends as one batch; `None` if there are no sends.
async fn output(
    streams: &mut Streams<'_>,
    wanted: &Wanted,
    ack_wait: Duration,
) -> Result<Option<Output>, BindError> {
    let fault = |why| output_fault(&wanted.handler, why);
    let (server, version) = (streams.session().servers(), streams.session().version());
    if !has_atomic_batches(&version) {
        let server = server.to_owned();
        return Err(fault(OutputFault::ServerTooOld { server, version }));
    }
    let mut of: Vec<(String, Rc<StreamInfo>)> = Vec::new();
    for pattern in &wanted.publishes {
        let overlapping = streams.overlapping(pattern).await?;
        let whole = |stream: &&Rc<StreamInfo>| stream.subjects().any(|s| contains(s, pattern));
        let Some(stream) = overlapping.iter().find(whole) else {
            let names = overlapping.iter().map(|stream| stream.name().to_owned());
            return Err(fault(OutputFault::NotContained {
                pattern: pattern.clone(),
                overlapping: names.collect(),
            }));
        };
        of.push((pattern.clone(), Rc::clone(stream)));
    }
    let Some((_, stream)) = of.first() else {
        return Ok(None);
    };
    if of.iter().any(|(_, other)| other.name() != stream.name()) {
        let of = of
            .iter()
            .map(|(pattern, stream)| (pattern.clone(), stream.name().to_owned()));
        return Err(fault(OutputFault::SeveralStreams(of.collect())));
    }
    atomic(stream, wanted, ack_wait).map(Some).map_err(fault)
}

/// Whether a stream takes batches, and remembers them for long enough.
fn atomic(stream: &StreamInfo, wanted: &Wanted, ack_wait: Duration) -> Result<Output, OutputFault> {
    let name = stream.name().to_owned();
    if !stream.is("allow_atomic") {
        return Err(OutputFault::NotAtomic(name));
    }
    let window = stream.time("duplicate_window");
    let horizon = wanted.redelivery.horizon(ack_wait);
    if window < horizon {
        return Err(OutputFault::Window {
            stream: name,
            window,
            horizon,
            ack_wait,
        });
    }
    Ok(Output {
        stream: name,
        duplicate_window: window,
        outage_max: window - horizon,
    })
}

fn output_fault(handler: &str, why: OutputFault) -> BindError {
    let handler = handler.to_owned();
    BindError::Output { handler, why }
}

/// Whether a server of this version has atomic batches; a version that can't be read has not.
fn has_atomic_batches(version: &str) -> bool {
    let mut parts = version
        .split(['.', '-'])
        .map(|part| part.parse::<u32>().ok());
    let version = parts.next().flatten().zip(parts.next().flatten());
    version.is_some_and(|version| version >= ATOMIC_SINCE)
}

/// What is allowed of a consumer and should be known.
fn warnings(wanted: &Wanted, consumer: &ConsumerConfig, input: &StreamInfo) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let (max_ack_pending, in_flight) = (consumer.max_ack_pending, wanted.in_flight_messages);
    let pending = u64::try_from(max_ack_pending);
    if pending.is_ok_and(|pending| pending < in_flight.saturating_mul(2)) {
        warnings.push(Warning::AckPendingLow {
            max_ack_pending,
            in_flight,
        });
    }
    if let Some(until) = consumer.pause_until.clone() {
        warnings.push(Warning::Paused { until });
    }
    if consumer.inactive_threshold > 0 {
        let after = Duration::from_nanos(consumer.inactive_threshold);
        warnings.push(Warning::Inactive(after));
    }
    if consumer.headers_only {
        warnings.push(Warning::HeadersOnly);
    }
    let subjects: Vec<_> = input.subjects().collect();
    // A mirror has no subjects, and a stream that renames what it takes stores other ones.
    let known = !subjects.is_empty() && !input.config.contains_key("subject_transform");
    let misses = |filter: &String| known && !subjects.iter().any(|s| overlap(s, filter));
    for filter in consumer.filters().into_iter().filter(misses) {
        let subjects = subjects.iter().map(ToString::to_string).collect();
        warnings.push(Warning::FilterMisses { filter, subjects });
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atomic_batches_came_with_2_12() {
        for (version, has) in [
            ("2.12.0", true),
            ("2.12.0-RC.1", true),
            ("2.15.1", true),
            ("3.0", true),
            ("2.11.9", false),
            ("2", false),
            ("", false),
            ("dev", false),
        ] {
            assert_eq!(has_atomic_batches(version), has, "{version}");
        }
    }
}
