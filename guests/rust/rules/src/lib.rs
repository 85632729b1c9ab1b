//! Contract 1 of the guests that differ by nothing but their contract: `shared/rules.rs` says what they do.

extern crate alloc;

#[path = "../../bindings/r0_2_0_draft.rs"]
mod bindings;
#[path = "../../../shared/rules.rs"]
mod rules;

use bindings::exports::wasi::messaging::messaging_guest::Guest;
use bindings::wasi::messaging::messaging_types::{
    Client, Error, FormatSpec, GuestConfiguration, Message,
};
use bindings::wasi::messaging::{consumer, producer};
use rules::{Sending, Step};

/// The reply subject, among the metadata; and what else of it is the host's and no header.
const REPLY_TO: &str = "reply-to";
const HOSTS: [&str; 3] = ["channel", "id", REPLY_TO];

struct Rules;

impl Guest for Rules {
    fn configure() -> Result<GuestConfiguration, Error> {
        Ok(GuestConfiguration { channels: vec!["rules".to_string()], extensions: None })
    }

    fn handler(messages: Vec<Message>) -> Result<(), Error> {
        messages.into_iter().try_for_each(handle)
    }
}

fn handle(message: Message) -> Result<(), Error> {
    let pairs = message.metadata.clone().unwrap_or_default();
    let hosts = |(key, _): &(String, String)| HOSTS.contains(&key.as_str());
    let (hosts, headers): (Vec<_>, Vec<_>) = pairs.into_iter().partition(hosts);
    let asked = hosts.iter().find(|(key, _)| key == REPLY_TO);
    let reply_to = asked.map(|(_, subject)| subject.as_str());
    let mut result = Ok(());
    rules::steps(&message.data, &headers, |step| {
        result = match step {
            Step::Send(sending) => send(sending, reply_to),
            Step::Fail(_) => failed(),
            Step::Trap => core::arch::wasm32::unreachable(),
            Step::Abandon => consumer::abandon_message(&message),
        };
        result.is_ok()
    });
    result
}

fn send(sending: Sending, asked: Option<&str>) -> Result<(), Error> {
    let Some(to) = sending.to.as_deref().or(asked) else {
        return failed();
    };
    let mut metadata = sending.headers;
    metadata.extend(sending.reply_to.map(|subject| (REPLY_TO.to_string(), subject)));
    let metadata = (!metadata.is_empty()).then_some(metadata);
    let message = Message { data: sending.payload, format: FormatSpec::Raw, metadata };
    producer::send(Client::connect("default")?, to, &[message])
}

/// The contract lets no guest make an error: this one is the host's, of a connection that nobody grants.
fn failed() -> Result<(), Error> {
    Client::connect("nowhere-granted").map(drop)
}

bindings::export!(Rules with_types_in bindings);
