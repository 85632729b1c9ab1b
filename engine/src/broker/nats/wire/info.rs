//! INFO and CONNECT: what the server says of itself first, and what a client answers.
//! Source: <https://docs.nats.io/reference/reference-protocols/nats-protocol#info>.
//!
//! Owns their fields alone. What is made of them is `connection.rs`'s; where secrets come from is `auth.rs`'s.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a server says of itself. Fields that it doesn't send have their defaults; those that are not known here are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct ServerInfo {
    /// Its id, unique to one run of it.
    pub(crate) server_id: String,
    /// Its name.
    pub(crate) server_name: String,
    /// Its version, as `2.15.1`.
    pub(crate) version: String,
    /// The protocol's level: 1 and above send further INFOs while connected.
    pub(crate) proto: i64,
    /// The address that it listens on.
    pub(crate) host: String,
    /// The port that it listens on.
    pub(crate) port: u16,
    /// Largest headers and payload together that it takes, in bytes; 0 or less where it says none.
    pub(crate) max_payload: i64,
    /// Whether it takes and sends headers.
    pub(crate) headers: bool,
    /// Whether it has JetStream.
    pub(crate) jetstream: bool,
    /// Its JetStream domain.
    pub(crate) domain: Option<String>,
    /// Whether a client must give credentials.
    pub(crate) auth_required: bool,
    /// Whether a client must go on in TLS.
    pub(crate) tls_required: bool,
    /// Whether it wants a client's certificate.
    pub(crate) tls_verify: bool,
    /// Whether a client may go on in TLS.
    pub(crate) tls_available: bool,
    /// What a client with a key has to sign.
    pub(crate) nonce: Option<String>,
    /// Addresses of servers of the same cluster, as `host:port`.
    pub(crate) connect_urls: Vec<String>,
    /// The cluster's name.
    pub(crate) cluster: Option<String>,
    /// Whether it is about to stop, and clients should go elsewhere ("lame duck").
    pub(crate) ldm: bool,
    /// The number that it gave to this connection.
    pub(crate) client_id: u64,
    /// The address that it sees the client at.
    pub(crate) client_ip: String,
}

impl ServerInfo {
    /// Largest headers and payload together that it takes, in bytes; `None` where it says none.
    pub(crate) fn payload_bytes_max(&self) -> Option<usize> {
        usize::try_from(self.max_payload).ok().filter(|&n| n > 0)
    }
}

/// What a client says of itself. Its `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Connect {
    /// Whether each operation is to be answered by `+OK`.
    pub(crate) verbose: bool,
    /// Whether subjects are to be checked strictly.
    pub(crate) pedantic: bool,
    /// Whether the client insists on TLS.
    pub(crate) tls_required: bool,
    /// The connection's name, for those who watch the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// The client's language.
    pub(crate) lang: &'static str,
    /// The client's version.
    pub(crate) version: &'static str,
    /// The protocol's level: 1 takes further INFOs while connected.
    pub(crate) protocol: u8,
    /// Whether the connection's own subscriptions get what it publishes.
    pub(crate) echo: bool,
    /// Whether it takes headers.
    pub(crate) headers: bool,
    /// Whether a request that nobody listens to is to be answered by a status 503.
    pub(crate) no_responders: bool,
    /// A user's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// Its password: a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pass: Option<String>,
    /// A token: a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) auth_token: Option<String>,
    /// A public key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nkey: Option<String>,
    /// A user's JWT: a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jwt: Option<String>,
    /// The nonce of INFO, signed: a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sig: Option<String>,
}

impl Default for Connect {
    /// As the engine connects: quiet, with headers, with answers where nobody listens, without credentials.
    fn default() -> Self {
        Self {
            verbose: false,
            pedantic: false,
            tls_required: false,
            name: None,
            lang: "rust",
            version: env!("CARGO_PKG_VERSION"),
            protocol: 1,
            echo: true,
            headers: true,
            no_responders: true,
            user: None,
            pass: None,
            auth_token: None,
            nkey: None,
            jwt: None,
            sig: None,
        }
    }
}

impl fmt::Debug for Connect {
    /// Of secrets only whether there are any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = |s: &Option<String>| s.as_ref().map(|_| "(secret)");
        f.debug_struct("Connect")
            .field("name", &self.name)
            .field("tls_required", &self.tls_required)
            .field("user", &self.user)
            .field("nkey", &self.nkey)
            .field("pass", &secret(&self.pass))
            .field("auth_token", &secret(&self.auth_token))
            .field("jwt", &secret(&self.jwt))
            .field("sig", &secret(&self.sig))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As nats-server 2.15 sends it, with a field that nobody knows.
    const INFO: &str = r#"{"server_id":"NABC","server_name":"s1","version":"2.15.1","proto":1,"git_commit":"x","go":"go1.26",
        "host":"0.0.0.0","port":4222,"headers":true,"auth_required":true,"tls_required":true,"tls_verify":true,"tls_available":true,
        "max_payload":1048576,"jetstream":true,"client_id":7,"client_ip":"127.0.0.1","nonce":"abc","cluster":"c","domain":"hub",
        "connect_urls":["10.0.0.1:4222","[::1]:4222"],"ldm":true,"xkey":"X","unheard_of":{"deep":[1,{}]}}"#;

    #[test]
    fn info_is_read_and_what_is_unknown_ignored() {
        let info: ServerInfo = serde_json::from_str(INFO).unwrap();
        assert_eq!(
            (info.server_id.as_str(), info.server_name.as_str()),
            ("NABC", "s1")
        );
        assert_eq!((info.version.as_str(), info.proto), ("2.15.1", 1));
        assert_eq!((info.host.as_str(), info.port), ("0.0.0.0", 4222));
        assert_eq!(info.payload_bytes_max(), Some(1 << 20));
        assert!(info.headers && info.jetstream && info.auth_required && info.ldm);
        assert!(info.tls_required && info.tls_verify && info.tls_available);
        assert_eq!(info.connect_urls, ["10.0.0.1:4222", "[::1]:4222"]);
        let texts = (
            info.nonce.as_deref(),
            info.cluster.as_deref(),
            info.domain.as_deref(),
        );
        assert_eq!(texts, (Some("abc"), Some("c"), Some("hub")));
        assert_eq!((info.client_id, info.client_ip.as_str()), (7, "127.0.0.1"));
    }

    #[test]
    fn info_without_fields_has_defaults() {
        let info: ServerInfo = serde_json::from_str("{}").unwrap();
        assert_eq!(info, ServerInfo::default());
        assert_eq!(info.payload_bytes_max(), None);
        let unlimited: ServerInfo = serde_json::from_str(r#"{"max_payload":-1}"#).unwrap();
        assert_eq!(unlimited.payload_bytes_max(), None);
    }

    #[test]
    fn connect_says_what_is_set_and_no_more() {
        let plain = serde_json::to_string(&Connect::default()).unwrap();
        let wanted = format!(
            "{{\"verbose\":false,\"pedantic\":false,\"tls_required\":false,\"lang\":\"rust\",\"version\":\"{}\",\"protocol\":1,\
             \"echo\":true,\"headers\":true,\"no_responders\":true}}",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(plain, wanted);
        let token = Connect {
            auth_token: Some("t\"1".into()),
            ..Connect::default()
        };
        let json: serde_json::Value = serde_json::to_value(&token).unwrap();
        assert_eq!(json["auth_token"], "t\"1");
        assert_eq!(json.get("pass"), None);
    }

    #[test]
    fn connect_shows_no_secret() {
        let secret = || Some("hunter2".to_owned());
        let connect = Connect {
            user: Some("ann".into()),
            nkey: Some("UPUBLIC".into()),
            pass: secret(),
            auth_token: secret(),
            jwt: secret(),
            sig: secret(),
            ..Connect::default()
        };
        for shown in [format!("{connect:?}"), format!("{connect:#?}")] {
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(shown.contains("ann") && shown.contains("UPUBLIC"));
            assert_eq!(shown.matches("(secret)").count(), 4);
        }
    }
}
