//! `millpond check`: everything that can be known of a configuration without starting it, and what it says.

use std::fmt::Write;

use anyhow::Context;
use millpond::{Contract, EngineLimits, HandlerConfig, HandlerLimits, Inspection, MemorySum};

use crate::args::CheckArguments;
use crate::config::file::{DeliveryKey, Flags, HandlerKeys};
use crate::config::{self, EngineLimitKeys, HandlerLimitKeys, Plan, Planned, level_name};
use crate::exit::{Exit, print};

/// Checks a file, its components and, if asked, its servers; prints what it says.
pub(crate) fn check(arguments: &CheckArguments) -> anyhow::Result<Exit> {
    let plan = config::of_file(&arguments.file, &Flags::default())?;
    let handlers = plan.engine.handlers.iter().zip(&plan.handlers);
    let inspect = |(handler, planned): (&HandlerConfig, &Planned)| {
        millpond::inspect(handler).with_context(|| planned.place.clone())
    };
    let inspected = handlers.map(inspect).collect::<anyhow::Result<Vec<_>>>()?;
    let memory = millpond::memory_sum(&plan.engine)?;
    let mut warnings = plan.warnings.clone();
    if arguments.connect {
        warnings.extend(millpond::check_nats(&plan.engine)?);
    }
    for warning in &warnings {
        eprintln!("warning: {warning}");
    }
    let connected = arguments.connect && plan.engine.nats.is_some();
    let file = arguments.file.display();
    print(&format!(
        "{file} is good\n\n{}",
        summary(&plan, &inspected, &memory, connected)
    ))?;
    Ok(Exit::Ok)
}

/// What a configuration says, for people.
fn summary(plan: &Plan, inspected: &[Inspection], memory: &MemorySum, connected: bool) -> String {
    let mut text = String::new();
    line(&mut text, "shards", &plan.engine.shards.to_string());
    line(&mut text, "memory", &format!("at most {memory}"));
    if let Some(nats) = &plan.engine.nats {
        let urls: Vec<_> = nats.urls.iter().map(ToString::to_string).collect();
        let asked = if connected {
            "; it answers, and has what the handlers need"
        } else {
            ""
        };
        line(&mut text, "servers", &format!("{}{asked}", urls.join(", ")));
    }
    let made = plan.engine.handlers.iter().zip(inspected);
    for (handler, (made, inspection)) in plan.handlers.iter().zip(made) {
        text.push('\n');
        describe(
            &mut text,
            handler,
            made,
            inspection,
            plan.engine.nats.is_some(),
        );
    }
    let different = different_of_engine(&plan.engine.limits);
    if !different.is_empty() {
        text.push('\n');
        line(&mut text, "engine", &different.join(", "));
    }
    text
}

fn describe(
    text: &mut String,
    handler: &Planned,
    made: &HandlerConfig,
    inspection: &Inspection,
    nats: bool,
) {
    let keys = &handler.keys;
    line(text, "handler", &handler.name);
    let contract = inspection.contract.interface();
    line(
        text,
        "component",
        &format!("{}, {contract}", handler.component.display()),
    );
    line(text, "takes", &taken(handler, inspection.contract, nats));
    if nats {
        line(text, "delivery", delivery(keys));
    }
    let letters = keys.dead_letter.as_deref();
    line(
        text,
        "given up",
        &letters.map_or("counted and logged".into(), |subject| {
            format!("sent to {subject:?}")
        }),
    );
    line(text, "reaches", &reached(made));
    let defaults = HandlerLimitKeys::typed(&HandlerLimits::default());
    let different = different(HandlerLimitKeys::typed(&made.limits), defaults);
    if !different.is_empty() {
        line(text, "limits", &different.join(", "));
    }
}

/// What a handler takes.
fn taken(handler: &Planned, contract: Contract, nats: bool) -> String {
    let HandlerKeys {
        stream,
        durable,
        subjects,
        queue,
        every_message,
        create,
        ..
    } = &handler.keys;
    if let (Some(stream), Some(durable)) = (stream, durable) {
        let made = if create.is_some() {
            ", made if it is not there"
        } else {
            ""
        };
        return format!("consumer {durable:?} of stream {stream:?}{made}");
    }
    let configure = contract.configures();
    let configure = configure.then(|| "the subjects of its configure".to_owned());
    let own = subjects.iter().flatten();
    let own = own.map(|subject| format!("{subject:?}"));
    let text = configure.into_iter().chain(own).collect::<Vec<_>>();
    let text = text.join(", ");
    match (nats, every_message) {
        (false, _) => text,
        (true, Some(true)) => text + "; every message, on one shard",
        (true, _) => format!(
            "{text}; queue group {:?}",
            queue.as_ref().unwrap_or(&handler.name)
        ),
    }
}

/// How often a message's effects may happen.
fn delivery(keys: &HandlerKeys) -> &'static str {
    match (&keys.stream, keys.delivery) {
        (None, _) => "at-most-once: what is lost or shed on the way is not sent again",
        (Some(_), None) => "at-least-once",
        (Some(_), Some(DeliveryKey::AtMostOnce)) => {
            "at-most-once: acked on arrival, and lost with the engine that took it"
        }
        (Some(_), Some(level)) => level_name(level),
    }
}

/// What a handler's guest may reach.
fn reached(handler: &HandlerConfig) -> String {
    let grants = &handler.grants;
    let list = |patterns: &[String]| match patterns {
        [] => "replies only".to_owned(),
        some => format!("replies, {}", some.join(", ")),
    };
    let mut text = format!("sends {}", list(&grants.send));
    let brokers = match (grants.any_broker, grants.brokers.as_slice()) {
        (true, _) => "any broker's name".to_owned(),
        (false, []) => "the broker default".to_owned(),
        (false, names) => format!("the brokers default, {}", names.join(", ")),
    };
    let _ = write!(text, "; {brokers}");
    if !grants.subscribe.is_empty() {
        let _ = write!(text, "; subscribes to {}", grants.subscribe.join(", "));
    }
    if !grants.env.is_empty() {
        let names: Vec<_> = grants.env.iter().map(|(name, _)| name.as_str()).collect();
        let _ = write!(text, "; environment {}", names.join(", "));
    }
    text
}

type Typed = Vec<(&'static str, Option<String>)>;

/// Keys whose values are not the defaults.
fn different(limits: Typed, defaults: Typed) -> Vec<String> {
    let pairs = limits
        .into_iter()
        .zip(defaults)
        .filter(|(limit, default)| limit != default);
    pairs
        .map(|((key, value), _)| format!("{key} = {}", value.unwrap_or_default()))
        .collect()
}

fn different_of_engine(limits: &EngineLimits) -> Vec<String> {
    different(
        EngineLimitKeys::typed(limits),
        EngineLimitKeys::typed(&EngineLimits::default()),
    )
}

fn line(text: &mut String, head: &str, rest: &str) {
    let _ = writeln!(text, "{head:<10} {rest}");
}
