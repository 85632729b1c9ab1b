//! What an engine says that can't start on its servers: one clear error for each thing; and the ways of being let in.

use std::time::Duration;

use millpond::{
    Auth, ClientCertificate, Engine, EngineConfig, NatsConfig, NatsError, NatsSource, Pem, Roots,
    Secret, ServerUrl, Spread, StartError, StreamSource, TlsOptions,
};
use millpond_tests::nats::{
    Certificates, Client, Nkey, Operator, Pair, Post, Server, Settings, async_nats,
};
use serde_json::json;

use crate::harness::{handler, settled, start};
use crate::nats_core::{at, core};

/// What the start of this says.
#[track_caller]
fn error(config: EngineConfig) -> String {
    let error = Engine::start(config).expect_err("it can't start");
    error.to_string()
}

/// The echo on this server, with this said of NATS.
fn echo(url: &str, change: impl FnOnce(&mut NatsConfig)) -> EngineConfig {
    let mut config = at(url, [core("echo", Some("q"))]);
    change(config.nats.as_mut().expect("it has servers"));
    config
}

/// The echo as somebody.
fn echo_as(server: &Server, auth: Auth) -> EngineConfig {
    echo(&server.url(), |nats| nats.auth = auth)
}

fn password(user: &str, password: &str) -> Auth {
    Auth::Password {
        user: user.into(),
        password: Secret::new(password),
    }
}

fn trusting(root: &Pair) -> TlsOptions {
    TlsOptions {
        roots: Roots::Only(Pem::File(root.certificate.clone())),
        ..TlsOptions::default()
    }
}

/// Starts it, and has it answer a request of this client.
fn answers(config: EngineConfig, client: &Client) {
    let engine = start(config);
    let reply = client.request(Post::new("echo", "hello")).expect("a reply");
    assert_eq!(&reply.payload[..], b"hello");
    assert_eq!(settled(&engine).settled(), 1);
}

#[test]
fn who_is_not_let_in_is_told_so_and_no_secret_is() {
    let server = Settings::new()
        .without_jetstream()
        .user("alice", "wonderland")
        .nkey(&Nkey::new().public)
        .start();
    for auth in [
        password("alice", "looking-glass"),
        password("nobody-known", "wonderland"),
        Auth::Token(Secret::new("looking-glass")),
        Auth::Nkey(Secret::new(Nkey::new().seed)),
        Auth::Nobody,
    ] {
        let error = error(echo_as(&server, auth));
        let server = server.url();
        assert_eq!(
            error,
            format!(
                "nats: {server}: the server ended the connection with \"Authorization Violation\""
            )
        );
    }
    let url = server.url().replace("://", "://alice:looking-glass@");
    let error = error(echo(&url, |_| ()));
    assert!(
        error.contains("Authorization Violation") && !error.contains("looking-glass"),
        "{error}"
    );
}

#[test]
fn credentials_that_are_none_are_told_with_their_file() {
    let server = Settings::new().without_jetstream().start();
    let error = error(echo_as(&server, Auth::Nkey(Secret::new(Nkey::new().seed))));
    assert!(error.contains("the server asks for no nkey"), "{error}");
    let error = self::error(echo_as(
        &server,
        Auth::CredentialsFile("/no/such.creds".into()),
    ));
    assert!(
        error.contains("cannot read the credentials file /no/such.creds"),
        "{error}"
    );
}

#[test]
fn a_subject_that_may_not_be_heard_is_told_with_its_handler() {
    let server = Settings::new()
        .without_jetstream()
        .limited_user("some", "s", json!({ "subscribe": { "deny": "echo" } }))
        .start();
    let error = error(echo_as(&server, password("some", "s")));
    let told = [
        "nats: handler \"echo\": ",
        &server.url(),
        "refused: \"Permissions Violation for Subscription to \\\"echo\\\"",
    ];
    assert!(told.iter().all(|part| error.contains(part)), "{error}");
}

#[test]
fn each_fault_of_a_certificate_is_told() {
    let files = Certificates::new();
    let told = |server: &Server, tls: TlsOptions| error(echo(&server.url(), |nats| nats.tls = tls));
    let of = |pair: &Pair| Settings::new().without_jetstream().tls(pair);
    let expired = told(&of(&files.expired).start(), trusting(&files.authority));
    assert!(
        expired.contains("the server's certificate has expired"),
        "{expired}"
    );
    let other = told(&of(&files.other_host).start(), trusting(&files.authority));
    assert!(
        other.contains("not for \"127.0.0.1\"") && other.contains("elsewhere.test"),
        "{other}"
    );
    let good = of(&files.server).start();
    let unknown = told(&good, trusting(&files.other_authority));
    assert!(unknown.contains("has an unknown issuer"), "{unknown}");
    let mut missing = trusting(&files.authority);
    missing.roots = Roots::Only(Pem::File("/no/such.pem".into()));
    let missing = told(&good, missing);
    assert!(missing.contains("/no/such.pem"), "{missing}");
    let plain = Settings::new().without_jetstream().start();
    let url = plain.url().replace("nats://", "tls://");
    let plain = error(echo(&url, |nats| nats.tls = trusting(&files.authority)));
    assert!(plain.contains("the server offers no tls"), "{plain}");
}

#[test]
fn a_client_certificate_that_is_not_trusted_is_told() {
    let files = Certificates::new();
    let server = Settings::new()
        .without_jetstream()
        .tls_for(&files.server, &files.authority)
        .start();
    let with = |pair: &Pair| TlsOptions {
        certificate: Some(ClientCertificate {
            chain: Pem::File(pair.certificate.clone()),
            key: Pem::File(pair.key.clone()),
        }),
        ..trusting(&files.authority)
    };
    for tls in [with(&files.stranger), trusting(&files.authority)] {
        let error = error(echo(&server.url(), |nats| nats.tls = tls));
        assert!(
            error.contains("the server refused the client certificate"),
            "{error}"
        );
    }
    let options = async_nats::ConnectOptions::new()
        .add_root_certificates(files.authority.certificate.clone())
        .add_client_certificate(files.client.certificate.clone(), files.client.key.clone());
    let client = Client::connect_as(&server.url(), options).expect("it is known");
    answers(
        echo(&server.url(), |nats| nats.tls = with(&files.client)),
        &client,
    );
}

#[test]
fn a_server_that_is_gone_is_told_when_the_wait_is_over() {
    let mut server = Settings::new().without_jetstream().start();
    let url = server.url();
    server.kill();
    let soon = |nats: &mut NatsConfig| nats.ready_wait_max = Duration::from_millis(300);
    let error = error(echo(&url, soon));
    assert!(
        error.starts_with("nats: not ready within 300ms: ") && error.contains(&url),
        "{error}"
    );
    assert!(
        error.to_lowercase().contains("connection refused"),
        "{error}"
    );
    server.restart();
    server.suspend();
    let error = self::error(echo(&url, soon));
    assert!(
        error.starts_with("nats: not ready within 300ms: "),
        "{error}"
    );
}

#[test]
fn one_server_of_several_is_enough() {
    let mut gone = Settings::new().without_jetstream().start();
    let server = Settings::new().without_jetstream().start();
    gone.kill();
    let client = Client::connect(&server.url());
    let urls = format!("{},{}", gone.url(), server.url());
    answers(echo(&urls, |_| ()), &client);
}

/// Two servers that each let in somebody else.
fn alices_and_bobs() -> [Server; 2] {
    [("alice", "a"), ("bob", "b")]
        .map(|(user, password)| Settings::new().user(user, password).start())
}

#[test]
fn a_server_that_refuses_does_not_end_a_start_that_another_accepts() {
    let [alices, bobs] = alices_and_bobs();
    let as_bob = |server: &Server| server.url().replace("://", "://bob:b@");
    let options = async_nats::ConnectOptions::with_user_and_password("bob".into(), "b".into());
    let client = Client::connect_as(&bobs.url(), options).expect("he may");
    // Whichever of them is tried first: two shards begin with different ones.
    let urls = format!("{},{}", as_bob(&alices), as_bob(&bobs));
    answers(echo(&urls, |_| ()).shards(2), &client);
    // Streams are looked up over a connection of their own.
    client.create_stream("IN", &["in.>"], json!({}));
    client.create_consumer("IN", "D", json!({}));
    let source = NatsSource::Stream(StreamSource::existing("IN", "D"));
    let mut config = at(&urls, [handler("counter").nats(source)]);
    config.shards = 2;
    let engine = start(config);
    client.store_all([Post::new("in.x", "1")]);
    client.wait_consumed("IN", "D");
    assert_eq!(settled(&engine).settled(), 1);
}

#[test]
fn servers_that_all_refuse_end_a_start_at_once() {
    let [alices, bobs] = alices_and_bobs();
    let as_eve = |server: &Server| server.url().replace("://", "://eve:hunter2@");
    let urls = format!("{},{}", as_eve(&alices), as_eve(&bobs));
    let error = error(echo(&urls, |_| ()));
    assert!(
        error.contains("Authorization Violation") && !error.contains("hunter2"),
        "{error}"
    );
    let source = NatsSource::Stream(StreamSource::existing("IN", "D"));
    let error = self::error(at(&urls, [handler("counter").nats(source)]));
    assert!(
        error.contains("refused the credentials") && !error.contains("hunter2"),
        "{error}"
    );
}

#[test]
fn a_user_who_may_not_ask_for_streams_is_told_so() {
    let denied = json!({ "publish": { "deny": "$JS.API.>" } });
    let server = Settings::new().limited_user("some", "s", denied).start();
    let source = NatsSource::Stream(StreamSource::existing("IN", "D"));
    let mut config = at(&server.url(), [handler("counter").nats(source)]);
    config.nats.as_mut().unwrap().auth = password("some", "s");
    let error = Engine::start(config).expect_err("it may not");
    let denied = matches!(error, StartError::Nats(NatsError::Permission(_)));
    assert!(denied && error.to_string().contains("may not"), "{error}");
}

#[test]
fn a_handler_of_a_stream_waits_for_a_server_that_is_late() {
    let mut server = Server::start();
    let client = Client::connect(&server.url());
    client.create_stream("IN", &["in.>"], json!({}));
    client.create_consumer("IN", "D", json!({}));
    client.store_all([Post::new("in.x", "1")]);
    let source = NatsSource::Stream(StreamSource::existing("IN", "D"));
    let config = at(&server.url(), [handler("counter").nats(source)]);
    server.kill();
    let starting = std::thread::spawn(move || start(config));
    // It has tried in vain: whoever connects is not answered before the server is there again.
    std::thread::park_timeout(Duration::from_millis(300));
    assert!(!starting.is_finished());
    server.restart();
    let engine = starting.join().expect("it starts");
    client.wait_consumed("IN", "D");
    assert_eq!(settled(&engine).settled(), 1);
}

#[test]
fn times_that_can_not_be_are_refused() {
    for (name, set) in TIMES {
        let mut config = echo("nats://127.0.0.1:1", |_| ());
        set(config.nats.as_mut().unwrap(), Duration::MAX);
        let told = error(config);
        assert!(told.contains(name) && told.contains("at most"), "{told}");
    }
    let never = echo("nats://127.0.0.1:1", |nats| {
        nats.silence_max = Duration::ZERO
    });
    let told = error(never);
    assert!(told.contains("silence_max is 0"), "{told}");
    let mut handler = core("echo", None);
    handler.limits.confirm_wait_max = Duration::ZERO;
    let told = error(at("nats://127.0.0.1:1", [handler]));
    assert!(told.contains("confirm_wait_max is 0"), "{told}");
}

/// Times of servers, by name.
type SetTime = fn(&mut NatsConfig, Duration);
const TIMES: [(&str, SetTime); 3] = [
    ("silence_max", |nats, time| nats.silence_max = time),
    ("reconnect_delay_max", |nats, time| {
        nats.reconnect_delay_max = time
    }),
    ("ready_wait_max", |nats, time| nats.ready_wait_max = time),
];

#[test]
fn a_queue_group_may_have_dots_in_its_name() {
    let server = Settings::new().without_jetstream().start();
    let client = Client::connect(&server.url());
    let mut heard = client.subscribe("answer");
    let engines = [0, 1].map(|_| start(at(&server.url(), [core("echo", Some("orders.v1"))])));
    let ask = |n: u32| Post::new("echo", n.to_string());
    for n in 0..20 {
        assert!(client.request(ask(n)).is_ok());
    }
    assert!(heard.rest().is_empty());
    let handled = engines.iter().map(|engine| settled(engine).settled());
    assert_eq!(handled.sum::<u64>(), 20, "one of the group handles each");
}

#[test]
fn a_configuration_that_can_not_be_so_is_told_before_anything_is_connected() {
    let none = error(echo("nats://127.0.0.1:1", |nats| nats.urls.clear()));
    assert_eq!(
        none,
        "bad configuration: nats has no server; name at least one url"
    );
    ServerUrl::parse_list("").expect_err("no url is none");
    let mut without = echo("nats://127.0.0.1:1", |_| ());
    without.nats = None;
    assert_eq!(
        error(without),
        "bad configuration: handler \"echo\": it takes from nats, and no server is named"
    );
    let mut ordered = echo("nats://127.0.0.1:1", |_| ()).shards(2);
    ordered.spread = Spread::Subject;
    let told = error(ordered.clone());
    assert!(
        told.starts_with(
            "bad configuration: handler \"echo\": the order of a subject can't be kept"
        ),
        "{told}"
    );
    let one = error({
        ordered.nats.as_mut().unwrap().ready_wait_max = Duration::ZERO;
        ordered.shards(1)
    });
    assert!(one.starts_with("nats: not ready within 0ns"), "{one}");
    let bad = at("nats://127.0.0.1:1", [core("echo", Some("a b"))]);
    let bad = error(bad);
    assert!(bad.contains("queue \"a b\" has white space"), "{bad}");
}

#[test]
fn a_handler_that_takes_nothing_from_nats_needs_no_permission() {
    let server = Settings::new()
        .without_jetstream()
        .user("all", "a")
        .limited_user("some", "s", json!({ "subscribe": { "deny": "echo" } }))
        .start();
    let mut config = at(&server.url(), [handler("echo")]);
    config.nats.as_mut().unwrap().auth = password("some", "s");
    settled(&start(config));
}

#[test]
fn users_tokens_nkeys_and_credentials_are_let_in() {
    let nkey = Nkey::new();
    let server = Settings::new()
        .without_jetstream()
        .user("alice", "pass word\"$1")
        .nkey(&nkey.public)
        .start();
    let options = async_nats::ConnectOptions::with_nkey(nkey.seed.clone());
    let client = Client::connect_as(&server.url(), options).expect("it may");
    answers(
        echo_as(&server, password("alice", "pass word\"$1")),
        &client,
    );
    answers(
        echo_as(&server, Auth::Nkey(Secret::new(nkey.seed))),
        &client,
    );
    let url = server.url().replace("://", "://alice:pass%20word%22$1@");
    answers(echo(&url, |_| ()), &client);

    let server = Settings::new().without_jetstream().token("secret").start();
    let options = async_nats::ConnectOptions::with_token("secret".into());
    let client = Client::connect_as(&server.url(), options).expect("it may");
    answers(
        echo_as(&server, Auth::Token(Secret::new("secret"))),
        &client,
    );

    let operator = Operator::new();
    let server = operator.settings().start();
    let file = operator.credentials("user");
    let text = std::fs::read_to_string(&file).expect("it was made");
    let options = async_nats::ConnectOptions::with_credentials(&text).expect("they are good");
    let client = Client::connect_as(&server.url(), options).expect("it may");
    answers(echo_as(&server, Auth::CredentialsFile(file)), &client);
}
