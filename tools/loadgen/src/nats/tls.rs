//! TLS: whom to trust and what to show, and one clear error for each thing that goes wrong.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, ClientConnection, RootCertStore};

/// How TLS is done where a URL, the server or a flag asks for it.
#[derive(Debug, Default)]
pub(crate) struct Tls {
    /// Whom to trust; the system's roots if none are named.
    roots: Option<RootCertStore>,
    shown: Option<Shown>,
    /// Made when it is first needed: the system's roots are read for it, and most loads need none.
    config: OnceLock<Arc<ClientConfig>>,
}

/// A certificate that is shown to the server, with those between it and its root, and its key.
#[derive(Debug)]
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Tls {
    /// With the root certificates of this file, and the certificate and key of these two.
    ///
    /// # Errors
    /// A file that can't be read, or has in it what can't be used.
    pub(crate) fn load(
        roots: Option<&Path>,
        shown: Option<(&Path, &Path)>,
    ) -> Result<Self, String> {
        let tls = Self {
            roots: roots.map(read_roots).transpose()?,
            shown: shown.map(read_shown).transpose()?,
            config: OnceLock::new(),
        };
        if tls.is_asked_for() {
            tls.config()?;
        }
        Ok(tls)
    }

    /// Whether there is to be TLS whatever the server says: who names certificates wants no connection without them.
    pub(crate) fn is_asked_for(&self) -> bool {
        self.roots.is_some() || self.shown.is_some()
    }

    /// A session with a server of this name, not begun.
    ///
    /// # Errors
    /// A name that no certificate can have; no roots.
    pub(crate) fn session(&self, host: &str) -> Result<ClientConnection, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host:?} is no name that a certificate can have"))?;
        ClientConnection::new(self.config()?, name).map_err(|error| explain(&error, host))
    }

    fn config(&self) -> Result<Arc<ClientConfig>, String> {
        if let Some(config) = self.config.get() {
            return Ok(Arc::clone(config));
        }
        let roots = self.roots.clone().map_or_else(system_roots, Ok)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let config = match &self.shown {
            None => builder.with_no_client_auth(),
            Some(Shown { chain, key }) => builder
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .map_err(|error| {
                    format!("--tls-cert and --tls-key can't be used together: {error}")
                })?,
        };
        Ok(Arc::clone(self.config.get_or_init(|| Arc::new(config))))
    }
}

/// The certificates of a file; at least one.
fn certificates(flag: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |why: String| format!("{flag} {}: {why}", file.display());
    let text = std::fs::read(file).map_err(|error| wrong(format!("it can't be read: {error}")))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| wrong(format!("it is no PEM: {error}")))?;
    match found.is_empty() {
        true => Err(wrong("no certificate is in it".to_owned())),
        false => Ok(found),
    }
}

fn read_roots(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("--tls-ca", file)? {
        let added = roots.add(certificate);
        added.map_err(|error| format!("--tls-ca {}: {error}", file.display()))?;
    }
    Ok(roots)
}

fn read_shown((certificate, key): (&Path, &Path)) -> Result<Shown, String> {
    let chain = certificates("--tls-cert", certificate)?;
    let wrong = |why: String| format!("--tls-key {}: {why}", key.display());
    let text = std::fs::read(key).map_err(|error| wrong(format!("it can't be read: {error}")))?;
    // What the parser says of a key could repeat some of it, so that isn't passed on.
    let key = PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| wrong("no private key is in it".to_owned()))?;
    Ok(Shown { chain, key })
}

fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    match taken {
        0 => Err(
            "the system has no root certificates: install ca-certificates, or name one with --tls-ca"
                .to_owned(),
        ),
        _ => Ok(roots),
    }
}

/// What rustls found wrong with a server of this name.
pub(crate) fn explain(error: &rustls::Error, host: &str) -> String {
    use CertificateError as E;
    match error {
        rustls::Error::InvalidCertificate(E::UnknownIssuer | E::BadSignature) => {
            "its certificate is of nobody who is trusted; name the root certificate with --tls-ca"
                .to_owned()
        }
        rustls::Error::InvalidCertificate(E::NotValidForName) => {
            format!("its certificate is not for {host:?}; use a name in the URL that it is for")
        }
        rustls::Error::InvalidCertificate(E::NotValidForNameContext { presented, .. }) => format!(
            "its certificate is not for {host:?} but for {}; use one of these names in the URL",
            presented.join(", ")
        ),
        rustls::Error::InvalidCertificate(reason) => {
            format!("its certificate is not accepted: {reason}")
        }
        rustls::Error::AlertReceived(alert) if is_about_ours(*alert) => format!(
            "it refuses our certificate, or wants one ({alert:?}); give one that it trusts with --tls-cert and --tls-key"
        ),
        rustls::Error::InvalidMessage(_) => "what it says is no TLS".to_owned(),
        other => format!("TLS fails: {other}"),
    }
}

/// Whether a server's alert is about the certificate that it was shown.
fn is_about_ours(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::CertificateRequired
            | A::NoCertificate
            | A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::DecryptError
            | A::AccessDenied
    )
}
