//! How the server is reached and who we are to it, as async-nats wants it: made of what the shards' own connections are made of.
//!
//! Owns no secret for long and shows none: async-nats gets addresses without users, and asks for the login when it connects.

use std::fmt;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr};
use data_encoding::BASE64URL_NOPAD;
use rustls::ClientConfig;

use super::connect::ConnectError;
use crate::broker::nats::auth::{Auth, AuthError, Login, read_credentials};
use crate::broker::nats::settings::ConnectionConfig;
use crate::broker::nats::url::ServerUrl;

/// How long one server has from dialling to its answer. Default 5 s, as on the shards' own connections.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Commands that async-nats may hold for a connection. Default 16: requests are made one after the other.
const COMMANDS_MAX: usize = 16;

/// How the server is reached, and who we are to it.
#[derive(Clone)]
pub(crate) struct Access {
    /// Our name, as the server lists it.
    pub(crate) name: String,
    /// The servers of one cluster.
    pub(crate) urls: Vec<ServerUrl>,
    /// Who we are, where a URL does not say it.
    pub(crate) auth: Auth,
    /// What TLS is done with, the same as on the shards' connections; `None`: with the system's roots, and nothing to show.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// Whether a connection without TLS is refused. A URL `tls://`, and a server that wants it, have TLS anyway.
    pub(crate) tls_required: bool,
    /// Whether the handshake comes before the server's first line.
    pub(crate) handshake_first: bool,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("name", &self.name)
            .field("urls", &self.urls)
            .field("auth", &self.auth)
            .field("tls_required", &self.tls_required)
            .field("handshake_first", &self.handshake_first)
            .finish_non_exhaustive()
    }
}

impl Access {
    /// As the shards' own connections have it.
    pub(crate) fn of(connection: &ConnectionConfig) -> Self {
        Self {
            name: connection.name.clone(),
            urls: connection.urls.clone(),
            auth: connection.auth.clone(),
            tls: connection.tls.client(),
            tls_required: connection.urls.iter().any(|url| url.tls),
            handshake_first: connection.tls.handshake_first(),
        }
    }

    /// The servers as errors name them.
    pub(super) fn servers(&self) -> String {
        let shown: Vec<_> = self.urls.iter().map(ToString::to_string).collect();
        shown.join(", ")
    }

    /// The servers' hosts, as certificates name them.
    pub(super) fn hosts(&self) -> String {
        let hosts: Vec<_> = self.urls.iter().map(ServerUrl::certified_name).collect();
        hosts.join(", ")
    }

    /// The servers' addresses, without users, each with the options of a connection to it.
    ///
    /// # Errors
    /// No URL, or one that async-nats does not take; a login that can't be used with any server.
    pub(super) fn servers_and_options(
        &self,
    ) -> Result<Vec<(ServerAddr, ConnectOptions)>, ConnectError> {
        if self.urls.is_empty() {
            return Err(ConnectError::NoUrl);
        }
        let each = self.urls.iter().map(|url| {
            let bare = url.to_string();
            let address = bare.parse().map_err(|_| ConnectError::Url(bare))?;
            Ok((address, self.options(url)?))
        });
        each.collect()
    }

    /// The options of a connection to one server.
    fn options(&self, url: &ServerUrl) -> Result<ConnectOptions, ConnectError> {
        let auth = url.auth.as_ref().unwrap_or(&self.auth).clone();
        auth.check()?;
        let options = ConnectOptions::with_auth_callback(move |nonce| ready(login(&auth, &nonce)))
            .name(&self.name)
            .connection_timeout(CONNECT_WAIT)
            .client_capacity(COMMANDS_MAX)
            .subscription_capacity(COMMANDS_MAX)
            .require_tls(self.tls_required);
        let options = match self.handshake_first {
            true => options.tls_first(),
            false => options,
        };
        Ok(match &self.tls {
            Some(tls) => options.tls_client_config(ClientConfig::clone(tls)),
            None => options,
        })
    }
}

/// What we say to a server that sent this nonce. Reads a file of credentials anew.
fn login(auth: &Auth, nonce: &[u8]) -> Result<async_nats::Auth, async_nats::AuthError> {
    let nonce = std::str::from_utf8(nonce)
        .ok()
        .filter(|nonce| !nonce.is_empty());
    let read = auth.file().map(read_credentials).transpose();
    let login = read.and_then(|read| read.as_ref().unwrap_or(auth).login(nonce));
    let Login {
        user,
        pass,
        auth_token,
        nkey,
        jwt,
        sig,
    } = login.map_err(|error: AuthError| async_nats::AuthError::new(error))?;
    let mut filled = async_nats::Auth::new();
    filled.username = user;
    filled.password = pass;
    filled.token = auth_token;
    filled.nkey = nkey;
    filled.jwt = jwt;
    // The library writes it as base64 again.
    filled.signature = sig.and_then(|sig| BASE64URL_NOPAD.decode(sig.as_bytes()).ok());
    Ok(filled)
}
