//! A load on the engine in process: threads that publish, and one that receives.

use std::sync::Arc;
use std::thread::ScopedJoinHandle;

use millpond::{Engine, Overflow};

use super::outcome::Outcome;
use super::over_nats::{joined, named};
use super::progress::Progress;
use super::signals::Signals;
use super::step::Step;
use crate::embedded::{EngineOutlet, EngineReader};
use crate::exit::{Exit, Failed};
use crate::plan::Mode;

/// Runs a load on this engine.
///
/// # Errors
/// It can't be begun. What goes wrong later is in the outcome.
pub(super) fn run(
    step: &mut Step<'_>,
    engine: &Engine,
    progress: &mut Progress,
    signals: &Signals,
) -> anyhow::Result<Outcome> {
    let requests = matches!(step.plan.mode, Mode::Request(_));
    let begin = format!("loadgen.reply.{:08x}.", step.run);
    let heard = match step.plan.mode.observe() {
        Some(subject) => subject.to_owned(),
        None => format!("{begin}>"),
    };
    let subscription = engine.subscribe(&heard, Overflow::Wait);
    let subscription = subscription.map_err(|why| {
        Failed::error(
            Exit::Failure,
            format!("the engine refuses to let {heard:?} be heard: {why}"),
        )
    })?;
    step.begin();
    let step = &*step;
    std::thread::scope(|scope| {
        let connections = 0..step.plan.connections;
        let reader = EngineReader {
            subscription,
            replies: connections
                .clone()
                .filter(|_| requests)
                .map(|index| step.inbox(index))
                .collect(),
            observed: (!requests).then(|| step.observer()),
            wakes: Arc::clone(&step.wakes),
            control: &step.control,
            clock: step.clock,
        };
        let reader = named(scope, "receive", move || reader.run())?;
        let mut senders = Vec::new();
        for index in connections {
            let inbox = requests.then(|| format!("{begin}{index}."));
            let outlet = EngineOutlet::new(
                engine,
                &step.plan.messages,
                (&step.control, step.clock),
                inbox,
            );
            let sender = step.sender(index, outlet);
            senders.push(named(scope, "send", move || sender.run())?);
        }
        let cut = step.watch(
            progress,
            signals,
            || senders.iter().all(ScopedJoinHandle::is_finished),
            0,
        );
        let sent = senders
            .into_iter()
            .map(joined)
            .collect::<Result<Vec<_>, _>>()?;
        let (mut received, observed) = joined(reader)?;
        received.extend(observed);
        let mut outcome = step.outcome(sent, received, Vec::new(), None, cut);
        if let Some(why) = engine.failure() {
            outcome.error = Some(Failed::error(
                Exit::Failure,
                format!("the engine has failed: {why}"),
            ));
        }
        Ok(outcome)
    })
}
