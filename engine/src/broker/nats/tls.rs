//! TLS: whom to trust and what to show, and one clear error for each thing that goes wrong.
//!
//! Owns rustls's configuration, made once at start (it reads files, so it blocks) and shared by all connections. Roots are the
//! system's by default: they are renewed with it, and a company's own are among them, which a list compiled in has neither of.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use thiserror::Error;

use super::auth::Secret;

/// Certificates or a key, in the form of PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pem {
    /// In a file.
    File(PathBuf),
    /// Here.
    Text(Secret),
}

/// Whom a server's certificate must come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Roots {
    /// Whom the system trusts; the environment variables `SSL_CERT_FILE` and `SSL_CERT_DIR` name others. Default.
    #[default]
    System,
    /// These and nobody else.
    Only(Pem),
}

/// What a connection shows to a server that asks who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, and those between it and its root.
    pub chain: Pem,
    /// Its key.
    pub key: Pem,
}

/// How TLS is done where a URL (`tls://`) or a server asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsOptions {
    /// Whom to trust. Default: whom the system trusts.
    pub roots: Roots,
    /// What to show. Default: nothing.
    pub certificate: Option<ClientCertificate>,
    /// Whether TLS begins before the server has said anything (`handshake_first` of its configuration). Default `false`.
    pub handshake_first: bool,
}

/// What is wrong with TLS.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum TlsError {
    /// Certificates or a key can't be used.
    #[error("cannot use {what} of {source_name}: {detail}")]
    Setup {
        /// Which.
        what: &'static str,
        /// Where they come from.
        source_name: String,
        /// Why not.
        detail: String,
    },
    /// The server's name can be in no certificate.
    #[error(
        "{name:?} is no name that a certificate can have; write the server's host name or address"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The server's certificate is too old.
    #[error(
        "the server's certificate has expired{when}; it must be renewed, or this machine's clock is wrong"
    )]
    Expired {
        /// How long ago, where that is known.
        when: String,
    },
    /// The server's certificate is too new.
    #[error("the server's certificate is not valid yet; this machine's clock may be wrong")]
    NotValidYet,
    /// The server's certificate is for somebody else.
    #[error(
        "the server's certificate is not for {name:?} but for {presented}; use one of these names in the url"
    )]
    WrongName {
        /// The name that was looked for.
        name: String,
        /// Whom it is for.
        presented: String,
    },
    /// Nobody that is trusted vouches for the server's certificate.
    #[error(
        "the server's certificate has an unknown issuer; name its root certificate in the configuration"
    )]
    UnknownIssuer,
    /// The server does not take the certificate that it was shown, or wants one.
    #[error("the server refused the client certificate ({alert}); it wants one that it trusts")]
    ClientCertificate {
        /// What it said.
        alert: String,
    },
    /// TLS is asked for and the server has none.
    #[error("the server offers no tls; use nats:// if the network is trusted")]
    NotOffered,
    /// Anything else.
    #[error("tls failed: {detail}")]
    Other {
        /// What.
        detail: String,
    },
}

/// TLS as it is to be done, ready for use. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tls {
    /// What is wrong with the system's roots is said when they are first needed: most connections never do.
    client: Result<Arc<ClientConfig>, TlsError>,
    handshake_first: bool,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("ready", &self.client.is_ok())
            .field("handshake_first", &self.handshake_first)
            .finish()
    }
}

impl Tls {
    /// Reads what the options name. Blocks.
    ///
    /// # Errors
    /// Files that can't be read or have in them what can't be used. What is wrong with the system's roots is an error only of a
    /// connection that needs them.
    pub(crate) fn load(options: &TlsOptions) -> Result<Self, TlsError> {
        let client = match &options.roots {
            Roots::Only(pem) => Ok(own_roots(pem)?),
            Roots::System => system_roots(),
        };
        let shown = options.certificate.as_ref().map(read_certificate);
        let shown = shown.transpose()?;
        let client = match client {
            Ok(roots) => Ok(Arc::new(client_config(roots, shown)?)),
            Err(error) => Err(error),
        };
        Ok(Self {
            client,
            handshake_first: options.handshake_first,
        })
    }

    /// Whether TLS begins before the server has said anything.
    pub(crate) fn handshake_first(&self) -> bool {
        self.handshake_first
    }

    /// What connections are begun with, if it can be used.
    pub(crate) fn client(&self) -> Option<Arc<ClientConfig>> {
        self.client.as_ref().ok().map(Arc::clone)
    }

    /// What a connection to a server of this name is begun with.
    pub(crate) fn session(&self, name: &str) -> Result<rustls::ClientConnection, TlsError> {
        let client = self.client.clone()?;
        let server = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name {
            name: name.to_owned(),
        })?;
        rustls::ClientConnection::new(client, server).map_err(|error| explain(&error, name))
    }
}

/// The certificates of a PEM; at least one.
fn certificates(what: &'static str, pem: &Pem) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content(what, pem)?).collect();
    let found = found.map_err(|error| setup(what, pem, error.to_string()))?;
    match found.is_empty() {
        true => Err(setup(what, pem, "no certificate is in it".into())),
        false => Ok(found),
    }
}

fn content(what: &'static str, pem: &Pem) -> Result<Vec<u8>, TlsError> {
    match pem {
        Pem::Text(text) => Ok(text.expose().as_bytes().to_vec()),
        Pem::File(path) => std::fs::read(path).map_err(|e| setup(what, pem, e.to_string())),
    }
}

fn setup(what: &'static str, pem: &Pem, detail: String) -> TlsError {
    let source_name = match pem {
        Pem::File(path) => path.display().to_string(),
        Pem::Text(_) => "the configuration".to_owned(),
    };
    TlsError::Setup {
        what,
        source_name,
        detail,
    }
}

const ROOTS: &str = "the root certificates";

fn own_roots(pem: &Pem) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ROOTS, pem)? {
        let added = roots.add(certificate);
        added.map_err(|error| setup(ROOTS, pem, error.to_string()))?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    let detail = found.errors.first().map(ToString::to_string);
    match taken {
        0 => Err(TlsError::Setup {
            what: ROOTS,
            source_name: "the system".into(),
            detail: detail.unwrap_or_else(|| "there are none; install ca-certificates".into()),
        }),
        _ => Ok(roots),
    }
}

type Shown = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read_certificate(certificate: &ClientCertificate) -> Result<Shown, TlsError> {
    const KEY: &str = "the client certificate's key";
    let chain = certificates("the client certificate", &certificate.chain)?;
    // What the parser says of a key could repeat some of it, so that isn't passed on.
    let key = PrivateKeyDer::from_pem_slice(&content(KEY, &certificate.key)?)
        .map_err(|_| setup(KEY, &certificate.key, "no private key is in it".into()))?;
    Ok((chain, key))
}

fn client_config(roots: RootCertStore, shown: Option<Shown>) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| explain(&error, ""))?
        .with_root_certificates(roots);
    match shown {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key)) => {
            let built = builder.with_client_auth_cert(chain, key);
            built.map_err(|error| TlsError::Setup {
                what: "the client certificate and its key",
                source_name: "the configuration".into(),
                detail: error.to_string(),
            })
        }
    }
}

/// What rustls found wrong with a server of this name, in our words.
pub(crate) fn explain(error: &rustls::Error, name: &str) -> TlsError {
    match error {
        rustls::Error::InvalidCertificate(reason) => explain_certificate(reason, name),
        rustls::Error::AlertReceived(alert) if is_about_ours(*alert) => {
            let alert = format!("{alert:?}");
            TlsError::ClientCertificate { alert }
        }
        rustls::Error::InvalidMessage(_) => TlsError::Other {
            detail: "what the server sent is no tls; its tls may have to begin later or earlier (`handshake_first`)".into(),
        },
        other => TlsError::Other {
            detail: other.to_string(),
        },
    }
}

fn explain_certificate(reason: &CertificateError, name: &str) -> TlsError {
    use CertificateError as E;
    match reason {
        E::Expired => TlsError::Expired {
            when: String::new(),
        },
        E::ExpiredContext { time, not_after } => {
            let seconds = time.as_secs().saturating_sub(not_after.as_secs());
            let when = format!(" {} hours ago", seconds / 3_600);
            TlsError::Expired { when }
        }
        E::NotValidYet | E::NotValidYetContext { .. } => TlsError::NotValidYet,
        // A signature that is not its issuer's is that of another one of the same name.
        E::UnknownIssuer | E::BadSignature => TlsError::UnknownIssuer,
        E::NotValidForName => wrong_name(name, "other names".into()),
        E::NotValidForNameContext { presented, .. } => wrong_name(name, presented.join(", ")),
        other => TlsError::Other {
            detail: format!("the server's certificate is not accepted: {other}"),
        },
    }
}

fn wrong_name(name: &str, presented: String) -> TlsError {
    TlsError::WrongName {
        name: name.to_owned(),
        presented,
    }
}

/// Whether a server's alert is about the client's certificate.
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

#[cfg(test)]
mod tests {
    use super::super::certificates::{Authority, Issued};
    use super::super::settings::ConnectionFault;
    use super::super::testing::{Client, INFO, Rig, Server, accept, config};
    use super::*;
    use rustls::server::WebPkiClientVerifier;
    use rustls::{ServerConfig, ServerConnection, StreamOwned};
    use std::net::TcpStream;

    type Secured = StreamOwned<ServerConnection, TcpStream>;

    /// What a server with this certificate is set to; it wants a client's of `clients`, if given.
    fn server_config(issued: &Issued, clients: Option<&Authority>) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let roots = Arc::new(own_roots(&clients.pem()).unwrap());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let (chain, key) = read_certificate(&issued.shown()).unwrap();
        Arc::new(builder.with_single_cert(chain, key).unwrap())
    }

    fn secured(stream: TcpStream, config: &Arc<ServerConfig>) -> Secured {
        let session = ServerConnection::new(Arc::clone(config)).unwrap();
        StreamOwned::new(session, stream)
    }

    /// A server that goes on in TLS after INFO, and then by this script. Its faults are its client's to tell.
    fn serve(
        config: Arc<ServerConfig>,
        script: impl FnOnce(Client<Secured>) + Send + 'static,
    ) -> Server {
        Server::run(move |listener| {
            let mut client = accept(listener);
            client.say(&format!(
                "INFO {}\r\n",
                INFO.replace('{', "{\"tls_required\":true,")
            ));
            let mut stream = secured(client.into_stream(), &config);
            if stream.conn.complete_io(&mut stream.sock).is_ok() {
                script(Client::new(stream));
            }
        })
    }

    fn options(roots: &Authority) -> TlsOptions {
        TlsOptions {
            roots: Roots::Only(roots.pem()),
            ..TlsOptions::default()
        }
    }

    fn rig(url: &str, options: &TlsOptions) -> Rig {
        let mut config = config(url);
        config.tls = Tls::load(options).unwrap();
        Rig::with(config)
    }

    /// Why the connection to `name` fails; the server's certificate is for `localhost`.
    fn fault(name: &str, expired: bool, trusted: bool) -> TlsError {
        let (ours, other) = (Authority::new("ours"), Authority::new("other"));
        let issued = ours.issue("localhost", expired);
        let server = serve(server_config(&issued, None), |_| {});
        let url = server.url.replace("127.0.0.1", name);
        let mut rig = rig(&url, &options(if trusted { &ours } else { &other }));
        let error = rig.fault();
        assert!(error.fault.is_final(), "{error}");
        server.join();
        match error.fault {
            ConnectionFault::Tls(error) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_fault_of_a_certificate_is_told_apart() {
        assert!(matches!(
            fault("localhost", true, true),
            TlsError::Expired { .. }
        ));
        assert_eq!(fault("localhost", false, false), TlsError::UnknownIssuer);
        let wrong = fault("127.0.0.1", false, true);
        let TlsError::WrongName { name, presented } = &wrong else {
            panic!("{wrong:?}");
        };
        assert_eq!(name, "127.0.0.1");
        assert!(presented.contains("localhost"), "{presented}");
    }

    #[test]
    fn a_client_certificate_is_shown_where_it_is_wanted() {
        let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
        let issued = ours.issue("localhost", false);
        for (shown, good) in [(None, false), (Some(&ours), false), (Some(&theirs), true)] {
            let server = serve(server_config(&issued, Some(&theirs)), |mut client| {
                client.connect();
                client.say("PONG\r\n");
                client.end();
            });
            let shown = shown.map(|authority| authority.issue("client", false).shown());
            let options = TlsOptions {
                certificate: shown,
                ..options(&ours)
            };
            let mut rig = rig(&server.url.replace("127.0.0.1", "localhost"), &options);
            match good {
                true => rig.live(),
                false => {
                    let fault = rig.fault().fault;
                    assert!(
                        matches!(
                            fault,
                            ConnectionFault::Tls(TlsError::ClientCertificate { .. })
                        ),
                        "{fault:?}"
                    );
                }
            }
            rig.connection.close();
            server.join();
        }
    }

    #[test]
    fn much_goes_both_ways_in_tls_and_it_may_come_first() {
        const COUNT: usize = 200;
        let authority = Authority::new("ours");
        let settings = server_config(&authority.issue("localhost", false), None);
        let server = Server::run(move |listener| {
            let stream = accept(listener).into_stream();
            let mut client = Client::new(secured(stream, &settings));
            assert_eq!(client.greet()["tls_required"], true);
            for i in 0..COUNT {
                client.expect(&format!("PUB a.{i} 10000"));
                assert_eq!(client.line().len(), 10_000);
                client.say(&format!(
                    "MSG b 1 {}\r\n{}\r\n",
                    i * 100,
                    "z".repeat(i * 100)
                ));
            }
            client.end();
        });
        let options = TlsOptions {
            handshake_first: true,
            ..options(&authority)
        };
        let mut rig = rig(&server.url.replace("127.0.0.1", "localhost"), &options);
        rig.live();
        let payload = vec![b'p'; 10_000];
        for i in 0..COUNT {
            let subject = format!("a.{i}");
            rig.connection
                .writer()
                .publish_bytes(&subject, None, &[], &payload)
                .unwrap();
        }
        rig.messages(COUNT);
        for (i, got) in rig.messages.iter().enumerate() {
            assert_eq!(got.message.payload().len(), i * 100);
        }
        assert_eq!(rig.connection.unsent_bytes(), 0);
        rig.connection.close();
        server.join();
    }

    #[test]
    fn a_server_that_speaks_no_tls_is_told_of() {
        let authority = Authority::new("ours");
        let server = Server::run(|listener| {
            let mut client = accept(listener);
            client.say(&format!("INFO {INFO}\r\n"));
            client.end();
        });
        let options = TlsOptions {
            handshake_first: true,
            ..options(&authority)
        };
        let error = rig(&server.url, &options).fault().to_string();
        assert!(error.contains("no tls"), "{error}");
        server.join();
    }

    #[test]
    fn what_cannot_be_used_is_refused_at_start() {
        let authority = Authority::new("ours");
        let issued = authority.issue("client", false);
        let text = |text: &str| Pem::Text(Secret::new(text));
        let of = |roots, certificate| TlsOptions {
            roots,
            certificate,
            handshake_first: false,
        };
        let good = || Roots::Only(authority.pem());
        let other_key = ClientCertificate {
            key: authority.issue("other", false).shown().key,
            ..issued.shown()
        };
        let no_key = ClientCertificate {
            key: text("hidden"),
            ..issued.shown()
        };
        let bad_key = ClientCertificate {
            key: text("-----BEGIN PRIVATE KEY-----\nhidden\n-----END PRIVATE KEY-----\n"),
            ..issued.shown()
        };
        let nowhere = Pem::File("/nowhere/roots.pem".into());
        for (options, part) in [
            (of(Roots::Only(nowhere), None), "/nowhere/roots.pem"),
            (of(Roots::Only(text("")), None), "no certificate is in it"),
            (
                of(good(), Some(other_key)),
                "the client certificate and its key",
            ),
            (
                of(good(), Some(bad_key)),
                "the client certificate and its key",
            ),
            (of(good(), Some(no_key)), "no private key"),
        ] {
            let error = Tls::load(&options).expect_err(part);
            let shown = format!("{error} {error:?} {options:?}");
            assert!(shown.contains(part) && !shown.contains("hidden"), "{shown}");
        }
        let tls = Tls::load(&of(good(), Some(issued.shown()))).unwrap();
        assert!(matches!(tls.session("no name"), Err(TlsError::Name { .. })));
        assert!(tls.session("localhost").is_ok() && tls.session("::1").is_ok());
    }
}
