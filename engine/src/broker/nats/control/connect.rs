//! Why there is no connection: what async-nats says, sorted into what a person can do something about.

use std::error::Error;
use std::io;

use async_nats::{ConnectErrorKind, ServerError};
use thiserror::Error;

use super::access::Access;
use crate::broker::nats::auth::AuthError;
use crate::broker::nats::refusal::{RefusalKind, ServerRefusal};
use crate::broker::nats::tls::{TlsError, explain};

/// Why there is no connection to a server.
#[derive(Debug, Error)]
pub(crate) enum ConnectError {
    /// Nothing to connect to.
    #[error("no server's url is given: give one, as nats://HOST:PORT")]
    NoUrl,
    /// The library does not take a URL.
    #[error("bad server url {0:?}: its host can't be used")]
    Url(String),
    /// We can't say who we are.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Nobody answers.
    #[error(
        "no server can be reached at {servers}: {detail}; see that it runs, and that its host and port are right"
    )]
    Unreachable {
        /// The servers.
        servers: String,
        /// What the last one that was tried did.
        detail: String,
    },
    /// We are not who we say, or that is nobody there.
    #[error(
        "{servers} refused the credentials: {detail}; check the user and the password, token, nkey or credentials file"
    )]
    Credentials {
        /// The servers.
        servers: String,
        /// What the server said.
        detail: String,
    },
    /// The connection can't be protected.
    #[error("no tls with {servers}: {why}")]
    Tls {
        /// The servers.
        servers: String,
        /// Why.
        why: TlsError,
    },
    /// The server does not want us now.
    #[error("{servers} refused the connection: {detail}")]
    Refused {
        /// The servers.
        servers: String,
        /// What the server said.
        detail: String,
    },
}

impl ConnectError {
    /// What the library's error means.
    pub(super) fn of(error: &async_nats::ConnectError, access: &Access) -> Self {
        use ConnectErrorKind as Kind;
        let (servers, detail) = (access.servers(), innermost(error));
        if let Some(tls) = cause(error) {
            let why = explain(tls, &access.hosts());
            return Self::Tls { servers, why };
        }
        match (error.kind(), cause::<ServerError>(error)) {
            (Kind::AuthorizationViolation | Kind::Authentication, _) => {
                Self::Credentials { servers, detail }
            }
            (Kind::Tls, _) => {
                let why = TlsError::Other { detail };
                Self::Tls { servers, why }
            }
            (_, Some(ServerError::Other(text))) => Self::refused(servers, text),
            _ => Self::Unreachable { servers, detail },
        }
    }

    fn refused(servers: String, text: &str) -> Self {
        use RefusalKind as Refusal;
        let refusal = ServerRefusal::read(text);
        let detail = refusal.text;
        match refusal.kind {
            Refusal::Authorization | Refusal::Expired => Self::Credentials { servers, detail },
            _ => Self::Refused { servers, detail },
        }
    }
}

/// The errors of which one is made of the other, the outermost first.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        // An I/O error's own source is that of the error it holds, not that error.
        let held = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        match held {
            Some(held) => Some(held),
            None => error.source(),
        }
    })
}

/// The first of them that is of this type.
fn cause<E: Error + 'static>(error: &async_nats::ConnectError) -> Option<&E> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The text of the innermost, which the others repeat, without what the library puts around it.
fn innermost(error: &async_nats::ConnectError) -> String {
    let text = causes(error).last().map(ToString::to_string);
    let text = text.unwrap_or_default();
    let inner = text
        .strip_prefix("AuthError(")
        .and_then(|t| t.strip_suffix(')'));
    let inner = inner.or_else(|| text.strip_prefix("nats: "));
    inner.unwrap_or(&text).to_owned()
}
