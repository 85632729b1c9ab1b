//! `[nats]` and its flags → the engine's `NatsConfig`: who the engine is, and how TLS is done.

use std::path::Path;

use millpond::{Auth, ClientCertificate, NatsConfig, Roots, Secret, TlsOptions};

use super::fault::Fault;
use super::file::{NatsKeys, TlsKeys};
use super::place::Way;
use super::secret::SecretValue;
use super::urls::bad;
use super::values::Keys;

/// The keys that say who the engine is.
const AUTH: [&str; 5] = ["user", "password", "token", "nkey_seed", "creds"];

/// The keys of a file with those of the command line over them: credentials that are typed replace all that the file has.
pub(super) fn merged(typed: NatsKeys, mut file: NatsKeys) -> NatsKeys {
    use super::values::Layer;
    if AUTH.iter().any(|key| typed.has(key)) {
        file = NatsKeys {
            user: None,
            password: None,
            token: None,
            nkey_seed: None,
            creds: None,
            ..file
        };
    }
    typed.over(file)
}

/// The servers that these keys name. Paths are relative to `folder`.
///
/// # Errors
/// Keys that contradict each other or are missing, and secrets that can't be read.
pub(super) fn config(keys: &NatsKeys, folder: &Path) -> Result<NatsConfig, Fault> {
    let at = |key| Way::of(&["nats", key]);
    let urls = keys
        .urls
        .as_ref()
        .map_or(Ok(Vec::new()), |urls| urls.0.clone());
    let urls = urls.map_err(|reason| Fault::new(at("urls"), bad(reason)))?;
    if urls.is_empty() {
        return Err(Fault::new(
            at("urls"),
            "no server is named; write urls = [\"nats://localhost:4222\"]",
        ));
    }
    let mut config = NatsConfig::new(urls);
    if let Some(name) = &keys.connection_name {
        config.name.clone_from(name);
    }
    if let Some(time) = keys.ready_wait_max {
        config.ready_wait_max = time.0;
    }
    if let Some(time) = keys.silence_max {
        config.silence_max = time.0;
    }
    if let Some(time) = keys.reconnect_delay_max {
        config.reconnect_delay_max = time.0;
    }
    config.auth = auth(keys, folder)?;
    config.tls = tls(&keys.tls, folder)?;
    Ok(config)
}

fn auth(keys: &NatsKeys, folder: &Path) -> Result<Auth, Fault> {
    let at = |key| Way::of(&["nats", key]);
    let ways = [
        &["user", "password"][..],
        &["token"],
        &["nkey_seed"],
        &["creds"],
    ];
    let mut said = ways
        .iter()
        .filter_map(|way| way.iter().find(|key| keys.has(key)));
    if let (Some(first), Some(second)) = (said.next(), said.next()) {
        let what = format!("{second} and {first} both say who the engine is; leave one out");
        return Err(Fault::new(at(second), what));
    }
    let secret = |key, value: &SecretValue| {
        let text = value.read(folder);
        text.map(Secret::new)
            .map_err(|why| Fault::new(at(key), format!("{key}: {why}")))
    };
    match keys {
        NatsKeys {
            user: Some(user),
            password: Some(password),
            ..
        } => Ok(Auth::Password {
            user: user.clone(),
            password: secret("password", password)?,
        }),
        NatsKeys { user: Some(_), .. } => Err(Fault::new(at("user"), "user needs password")),
        NatsKeys {
            password: Some(_), ..
        } => Err(Fault::new(at("password"), "password needs user")),
        NatsKeys {
            token: Some(token), ..
        } => Ok(Auth::Token(secret("token", token)?)),
        NatsKeys {
            nkey_seed: Some(seed),
            ..
        } => Ok(Auth::Nkey(secret("nkey_seed", seed)?)),
        NatsKeys {
            creds: Some(path), ..
        } => Ok(Auth::CredentialsFile(folder.join(path))),
        _ => Ok(Auth::Nobody),
    }
}

fn tls(keys: &TlsKeys, folder: &Path) -> Result<TlsOptions, Fault> {
    let at = |key| Way::of(&["nats", "tls", key]);
    let certificate = match (&keys.certificate, &keys.key) {
        (Some(chain), Some(key)) => Some(ClientCertificate {
            chain: chain.pem(folder),
            key: key.pem(folder),
        }),
        (None, None) => None,
        (Some(_), None) => {
            return Err(Fault::new(
                at("certificate"),
                "tls.certificate needs tls.key",
            ));
        }
        (None, Some(_)) => return Err(Fault::new(at("key"), "tls.key needs tls.certificate")),
    };
    Ok(TlsOptions {
        roots: match &keys.ca {
            Some(ca) => Roots::Only(ca.pem(folder)),
            None => Roots::System,
        },
        certificate,
        handshake_first: keys.handshake_first.unwrap_or_default(),
    })
}
