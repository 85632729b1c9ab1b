//! Servers that can't be reached, don't take us, or have no JetStream.

use std::sync::Arc;

use millpond_tests::nats::{Certificates, Nkey, Operator, Pair, Settings};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::script::{Reply, Scripted};
use super::*;
use crate::broker::nats::auth::Secret;
use crate::broker::nats::tls::TlsError;

const PASSWORD: &str = "s3cret-pa%ss";

fn password(user: &str, password: &str) -> Auth {
    let (user, password) = (user.to_owned(), Secret::new(password));
    Auth::Password { user, password }
}

/// The error of binding nothing, which takes a connection alone.
#[track_caller]
fn no_connection(access: &Access) -> ConnectError {
    no_connection_within(access, LIMIT)
}

/// The same, waited for so long: who is not there may come.
#[track_caller]
fn no_connection_within(access: &Access, limit: Duration) -> ConnectError {
    match bind(access, &[], limit).expect_err("there is no connection") {
        BindError::Connect(error) => {
            println!("{error}");
            error
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let gone = access("nats://user:hidden@127.0.0.1:1,127.0.0.1:2");
    let error = no_connection_within(&gone, Duration::from_secs(5));
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("nats://127.0.0.1:1, nats://127.0.0.1:2"),
        "{text}"
    );
    assert!(!text.contains("hidden"), "{text}");
    let nowhere = access("nats://nowhere.invalid:4222");
    let unknown = no_connection_within(&nowhere, Duration::from_secs(10));
    assert!(
        matches!(unknown, ConnectError::Unreachable { .. }),
        "{unknown}"
    );
    let none = no_connection(&Access {
        urls: Vec::new(),
        ..access("nats://a")
    });
    assert!(matches!(none, ConnectError::NoUrl), "{none}");
}

#[test]
fn a_wrong_password_is_refused_and_never_shown() {
    let server = Settings::new().user("u", PASSWORD).start();
    let right = Access {
        auth: password("u", PASSWORD),
        ..access(&server.url())
    };
    bind(&right, &[], LIMIT).expect("it is right");
    let in_url = server.url().replace("://", "://u:s3cret-pa%25ss@");
    bind(&access(&in_url), &[], LIMIT).expect("it is right");
    for auth in [
        password("u", "wr0ng"),
        password("nobody", PASSWORD),
        Auth::Nobody,
    ] {
        let wrong = Access {
            auth,
            ..right.clone()
        };
        let error = no_connection(&wrong);
        assert!(matches!(error, ConnectError::Credentials { .. }), "{error}");
        for shown in [format!("{error} {error:?}"), format!("{wrong:?}")] {
            assert!(
                !shown.contains("wr0ng") && !shown.contains("s3cret"),
                "{shown}"
            );
        }
    }
    assert!(!format!("{:?}", access(&in_url)).contains("s3cret"));
}

#[test]
fn tokens_nkeys_and_credentials_files_open_their_servers_alone() {
    let (key, operator) = (Nkey::new(), Operator::new());
    let file = operator.credentials("user");
    let cases = [
        (Settings::new().token("t"), Auth::Token(Secret::new("t"))),
        (
            Settings::new().nkey(&key.public),
            Auth::Nkey(Secret::new(key.seed.clone())),
        ),
        (operator.settings(), Auth::CredentialsFile(file)),
    ];
    for (settings, auth) in cases {
        let server = settings.start();
        let right = Access {
            auth,
            ..access(&server.url())
        };
        bind(&right, &[], LIMIT).expect("it is right");
        let other = Auth::Nkey(Secret::new(Nkey::new().seed));
        let error = no_connection(&Access {
            auth: other,
            ..right
        });
        assert!(matches!(error, ConnectError::Credentials { .. }), "{error}");
    }
}

#[test]
fn logins_that_are_none_are_told_before_anybody_is_asked() {
    let nowhere = access("nats://127.0.0.1:1");
    let seed = Auth::Nkey(Secret::new("SUnonsense"));
    let missing = Auth::CredentialsFile("/nowhere/user.creds".into());
    for (auth, part) in [(seed, "seed"), (missing, "/nowhere/user.creds")] {
        let error = no_connection(&Access {
            auth,
            ..nowhere.clone()
        });
        assert!(matches!(error, ConnectError::Auth(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains(part) && !text.contains("nonsense"), "{text}");
    }
}

fn tls(roots: &Pair, shown: Option<&Pair>) -> Option<Arc<ClientConfig>> {
    let read =
        |pair: &Pair| CertificateDer::from_pem_file(&pair.certificate).expect("a certificate");
    let mut trusted = RootCertStore::empty();
    trusted.add(read(roots)).expect("a root");
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_root_certificates(trusted);
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let key = PrivateKeyDer::from_pem_file(&pair.key).expect("a key");
            let config = builder.with_client_auth_cert(vec![read(pair)], key);
            config.expect("they belong together")
        }
    };
    Some(Arc::new(config))
}

#[track_caller]
fn tls_error(access: &Access) -> TlsError {
    match no_connection(access) {
        ConnectError::Tls { why, .. } => why,
        other => panic!("{other}"),
    }
}

#[test]
fn each_fault_of_a_certificate_has_its_error() {
    let all = Certificates::new();
    let trusting = |url: &str| Access {
        tls: tls(&all.authority, None),
        ..access(url)
    };
    let good = Settings::new().tls(&all.server).start();
    bind(&trusting(&good.url()), &[], LIMIT).expect("it is good");
    let plain = good.url().replace("tls://", "nats://");
    bind(&trusting(&plain), &[], LIMIT).expect("the server asks for it");
    let stranger = Access {
        tls: tls(&all.other_authority, None),
        ..access(&good.url())
    };
    assert_eq!(tls_error(&stranger), TlsError::UnknownIssuer);
    let expired = Settings::new().tls(&all.expired).start();
    let error = tls_error(&trusting(&expired.url()));
    assert!(matches!(error, TlsError::Expired { .. }), "{error}");
    let elsewhere = Settings::new().tls(&all.other_host).start();
    let error = tls_error(&trusting(&elsewhere.url()));
    assert!(matches!(error, TlsError::WrongName { .. }), "{error}");
    assert!(error.to_string().contains("elsewhere.test"), "{error}");
}

#[test]
fn a_server_that_wants_a_certificate_is_shown_ours() {
    let all = Certificates::new();
    let server = Settings::new().tls_for(&all.server, &all.authority).start();
    let with = |shown| Access {
        tls: tls(&all.authority, shown),
        ..access(&server.url())
    };
    bind(&with(Some(&all.client)), &[], LIMIT).expect("it is of the authority");
    for shown in [None, Some(&all.stranger)] {
        let error = tls_error(&with(shown));
        assert!(
            matches!(error, TlsError::ClientCertificate { .. }),
            "{error}"
        );
    }
    let first = Settings::new().tls(&all.server).tls_first().start();
    let silent = Access {
        tls: tls(&all.authority, None),
        handshake_first: true,
        ..access(&first.url())
    };
    bind(&silent, &[], LIMIT).expect("the handshake comes first");
}

#[test]
fn a_server_without_tls_is_told_where_it_is_required() {
    let server = Server::start();
    let required = Access {
        tls_required: true,
        tls: tls(&Certificates::new().authority, None),
        ..access(&server.url())
    };
    let error = tls_error(&required);
    assert!(error.to_string().contains("no tls"), "{error}");
}

#[test]
fn a_server_or_an_account_without_jetstream_is_told() {
    let without = Settings::new().without_jetstream().start();
    let error = refused(&without, &wanted());
    assert!(
        matches!(error, BindError::JetStreamDisabled { .. }),
        "{error}"
    );
    says(&error, &[&without.url(), "-js"]);
    let accounts = json!({"A": {"users": [{"user": "a", "password": "p"}]}});
    let account = Settings::new().set("accounts", accounts).start();
    let a = Access {
        auth: password("a", "p"),
        ..access(&account.url())
    };
    let error = bind(&a, &[wanted()], LIMIT).expect_err("the account has none");
    assert!(
        matches!(error, BindError::JetStreamDisabled { .. }),
        "{error}"
    );
    let nobody = Scripted::start("2.15.1", |_, _| Reply::Nobody);
    let error = bind(&access(nobody.url()), &[wanted()], LIMIT).expect_err("nobody answers");
    assert!(
        matches!(error, BindError::JetStreamDisabled { .. }),
        "{error}"
    );
    assert_eq!(nobody.asked(), ["$JS.API.STREAM.INFO.IN"]);
}

#[test]
fn what_our_user_may_not_ask_is_told_at_once() {
    let allowed = json!({"publish": ["$JS.API.STREAM.INFO.>"], "subscribe": ["_INBOX.>"]});
    let deaf = json!({"publish": [">"], "subscribe": ["nothing"]});
    let server = Settings::new()
        .user("all", "p")
        .limited_user("u", "p", allowed)
        .limited_user("d", "p", deaf)
        .start();
    let all = async_nats::ConnectOptions::with_user_and_password("all".to_owned(), "p".to_owned());
    let client = Client::connect_as(&server.url(), all).expect("it may do all");
    client.create_stream("IN", &["in.>"], json!({}));
    for (user, part) in [("u", "$JS.API.CONSUMER.INFO.IN.D"), ("d", "Subscription")] {
        let limited = Access {
            auth: password(user, "p"),
            ..access(&server.url())
        };
        let error = bind(&limited, &[wanted()], LIMIT).expect_err("it may not");
        says(&error, &["our user may not ask", part]);
    }
}

#[test]
fn the_time_limit_ends_what_never_answers_and_says_what_that_is() {
    let silent = Scripted::start("2.15.1", |_, _| Reply::Silence);
    let limit = Duration::from_millis(300);
    let error = bind(&access(silent.url()), &[wanted()], limit).expect_err("nobody answers");
    says(&error, &["300ms", "asking: what stream \"IN\" is"]);
    assert_eq!(silent.asked().len(), 1, "its client is gone");
}

#[test]
fn a_cluster_without_a_leader_is_asked_again_and_nonsense_is_not() {
    let missing =
        json!({"error": {"code": 404, "err_code": 10059, "description": "stream not found"}});
    let not_ready = json!({"error": {"code": 503, "err_code": 10008, "description": "JetStream system temporarily unavailable"}});
    let server = Scripted::start("2.15.1", move |_, before| {
        Reply::Json(if before < 3 {
            not_ready.clone()
        } else {
            missing.clone()
        })
    });
    let error = bind(&access(server.url()), &[wanted()], LIMIT).expect_err("there is no stream");
    assert!(
        matches!(
            error,
            BindError::Stream {
                why: StreamFault::Missing,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(server.asked().len(), 4);
    for odd in [
        json!({"type": "what"}),
        json!(7),
        json!({"error": {"code": 500, "err_code": 10049, "description": "no space"}}),
    ] {
        let server = Scripted::start("2.15.1", move |_, _| Reply::Json(odd.clone()));
        let error = bind(&access(server.url()), &[wanted()], LIMIT).expect_err("it is odd");
        assert!(matches!(error, BindError::Request { .. }), "{error}");
        says(&error, &["what stream \"IN\" is"]);
        assert_eq!(server.asked().len(), 1);
    }
}
