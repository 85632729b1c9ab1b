//! One connection for management, and requests over it, one after the other, each with a time limit and an error that says which it was.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Client, Event, Request, ServerError};
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;
use tokio::sync::watch;

use super::access::Access;
use super::connect::ConnectError;
use super::error::BindError;
use super::json::Envelope;
use crate::broker::nats::refusal::{RefusalKind, ServerRefusal};

/// How long one request may take. Default 5 s: what the server itself gives a cluster to answer.
const REQUEST_WAIT: Duration = Duration::from_secs(5);
/// Times that a request is repeated which the server is not ready for. Default 20, at 250 ms: a cluster elects a leader within seconds.
const RETRIES_MAX: u32 = 20;
/// Time between them.
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// "JetStream system temporarily unavailable": no leader yet.
const NOT_READY: u32 = 10_008;
/// "JetStream not enabled", and the same "for account".
const NOT_ENABLED: [u32; 2] = [10_076, 10_039];

/// What is being done, for the error of a time limit.
pub(super) type Doing = Rc<RefCell<String>>;

/// Why a request has no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Trouble {
    /// The server said no.
    #[error("the server refused it: {text} (code {code})")]
    Refused {
        /// JetStream's own number of the error.
        code: u32,
        /// What it said.
        text: String,
    },
    /// Our user may not.
    #[error("our user may not ask that ({0}): allow it, or use a user who may")]
    Denied(String),
    /// Nothing came.
    #[error("no answer within {0:?}: see whether JetStream has a leader")]
    NoAnswer(Duration),
    /// The connection was lost.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The answer can't be read.
    #[error("its answer can't be read: {0}")]
    Nonsense(String),
}

fn is_unreachable(error: &ConnectError) -> bool {
    matches!(error, ConnectError::Unreachable { .. })
}

impl Trouble {
    /// Whether it is a matter of permissions.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self, Self::Denied(_))
    }

    /// Whether it may be over by itself: no leader, no connection.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::NoAnswer(_) | Self::Lost(_))
    }
}

/// A connection to ask JetStream's API over.
pub(super) struct Session {
    client: Client,
    servers: String,
    doing: Doing,
    /// What the server last complained of on its own.
    denied: watch::Receiver<String>,
    /// What would be made, where nothing is.
    planned: Option<RefCell<Vec<String>>>,
}

impl Session {
    /// As [`Self::connect`], but a server that is not there is waited for, for most of this time.
    pub(super) async fn connect_within(
        access: &Access,
        doing: Doing,
        limit: Duration,
    ) -> Result<Self, ConnectError> {
        // So that the last error is told, and not only that the time is over.
        let until = tokio::time::Instant::now() + limit * 9 / 10;
        loop {
            let failed = match Self::connect(access, Rc::clone(&doing)).await {
                Err(error) if is_unreachable(&error) => error,
                ended => return ended,
            };
            let again = tokio::time::Instant::now() + RETRY_DELAY;
            if again >= until {
                return Err(failed);
            }
            tracing::debug!(%failed, "waiting for a server");
            tokio::time::sleep_until(again).await;
        }
    }

    /// Connects to the first server that takes us.
    ///
    /// # Errors
    /// There is no server, or none that takes us: why the first that was reached does not.
    pub(super) async fn connect(access: &Access, doing: Doing) -> Result<Self, ConnectError> {
        let servers = access.servers();
        doing.replace(format!("connecting to {servers}"));
        let mut refused = None;
        // Each with its own login: what one refuses another may accept.
        for (address, options) in access.servers_and_options()? {
            let (deny, denied) = watch::channel(String::new());
            let options = options.event_callback(move |event| {
                if let Event::ServerError(ServerError::Other(text)) = event {
                    deny.send_replace(text);
                }
                std::future::ready(())
            });
            match options.connect(address).await {
                Ok(client) => {
                    return Ok(Self {
                        client,
                        servers,
                        doing,
                        denied,
                        planned: None,
                    });
                }
                Err(error) => {
                    let error = ConnectError::of(&error, access);
                    let told = matches!(refused, Some(ref first) if !is_unreachable(first));
                    refused = if told { refused } else { Some(error) };
                }
            }
        }
        Err(refused.unwrap_or(ConnectError::NoUrl))
    }

    /// The same session, over which nothing is made: it is noted what would be.
    pub(super) fn planning(mut self) -> Self {
        self.planned = Some(RefCell::default());
        self
    }

    /// Notes what would be made, if nothing is made.
    pub(super) fn plans(&self, what: impl FnOnce() -> String) -> bool {
        if let Some(planned) = &self.planned {
            planned.borrow_mut().push(what());
        }
        self.planned.is_some()
    }

    /// What would be made.
    pub(super) fn planned(&self) -> Vec<String> {
        let planned = self.planned.as_ref();
        planned.map(|planned| planned.take()).unwrap_or_default()
    }

    /// The version of the server that we are connected to.
    pub(super) fn version(&self) -> String {
        self.client.server_info().version
    }

    /// The servers, as errors name them.
    pub(super) fn servers(&self) -> &str {
        &self.servers
    }

    /// Asks JetStream's API `subject` with a body; `None` if what it is about isn't there, which the code `missing` says.
    ///
    /// # Errors
    /// Any other refusal; no answer; no JetStream.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        asked: &str,
        subject: &str,
        body: &Value,
        missing: &[u32],
    ) -> Result<Option<T>, BindError> {
        self.doing.replace(format!("asking: {asked}"));
        let failed = |why| BindError::Request {
            server: self.servers.clone(),
            asked: asked.to_owned(),
            why,
        };
        let mut retries = 0;
        loop {
            let answer = self.request(subject, body).await.map_err(|why| match why {
                None => self.disabled("nobody answers for it".to_owned()),
                Some(why) => failed(why),
            })?;
            let nonsense = |error: serde_json::Error| failed(Trouble::Nonsense(error.to_string()));
            let envelope: Envelope = serde_json::from_slice(&answer).map_err(nonsense)?;
            let Some(error) = envelope.error else {
                return serde_json::from_slice(&answer).map(Some).map_err(nonsense);
            };
            match error.err_code {
                code if missing.contains(&code) => return Ok(None),
                code if NOT_ENABLED.contains(&code) => return Err(self.disabled(error.description)),
                NOT_READY if retries < RETRIES_MAX => {
                    retries += 1;
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                code => {
                    let text = error.description;
                    return Err(failed(Trouble::Refused { code, text }));
                }
            }
        }
    }

    fn disabled(&self, detail: String) -> BindError {
        let server = self.servers.clone();
        BindError::JetStreamDisabled { server, detail }
    }

    /// One request; `Err(None)` if nobody listens.
    async fn request(&self, subject: &str, body: &Value) -> Result<bytes::Bytes, Option<Trouble>> {
        let body = match body {
            Value::Null => Vec::new(),
            body => body.to_string().into_bytes(),
        };
        let request = Request::new()
            .payload(body.into())
            .timeout(Some(REQUEST_WAIT));
        let mut denied = self.denied.clone();
        denied.mark_unchanged();
        let subject = format!("$JS.API.{subject}");
        tokio::select! {
            answer = self.client.send_request(subject, request) => match answer {
                Ok(message) => Ok(message.payload),
                Err(error) => Err(match error.kind() {
                    RequestErrorKind::NoResponders => None,
                    RequestErrorKind::TimedOut => Some(Trouble::NoAnswer(REQUEST_WAIT)),
                    _ => Some(Trouble::Lost(error.to_string())),
                }),
            },
            said = complaint(&mut denied) => Err(Some(Trouble::Denied(said))),
        }
    }
}

/// The server's next complaint about permissions; never, if it makes none.
async fn complaint(denied: &mut watch::Receiver<String>) -> String {
    use RefusalKind as Refusal;
    loop {
        if denied.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        let said = denied.borrow_and_update().clone();
        match ServerRefusal::read(&said).kind {
            Refusal::Publish { .. } | Refusal::Reply { .. } | Refusal::Subscription { .. } => {
                return said;
            }
            _ => {}
        }
    }
}
