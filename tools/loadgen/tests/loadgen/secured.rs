//! Real servers that want TLS, nkeys, credentials or tokens, and several of them.

use std::fs;
use std::net::TcpListener;

use millpond_tests::folder::Folder;
use millpond_tests::nats::{Certificates, Nkey, Operator, Server, Settings};

use crate::service::{Does, Service};
use crate::{Done, done, loadgen, n};

/// A short load that is published and observed, with these flags.
fn observed(more: &str) -> Done {
    done(&mut loadgen(&format!(
        "publish --subject a --observe a --rate 1000 --arrivals constant --duration 300ms --warmup 0s --settle 20s --connections 2 --json {more}"
    )))
}

/// That all of it came back whole.
#[track_caller]
fn came_back(ended: Done) {
    let load = ended.ended(0).load();
    let found = ["sent", "received", "lost", "corrupted", "strange"].map(|key| n(&load, key));
    assert_eq!(found, [300, 300, 0, 0, 0]);
}

#[test]
fn messages_of_all_sizes_come_back_whole_by_tls() {
    let certificates = Certificates::new();
    let server = Settings::new().tls(&certificates.server).start();
    let roots = certificates.authority.certificate.display();
    // By the URL, and where only the server asks for it; messages of several records, and many in one.
    for (scheme, more) in [("tls", "--size 24..60KiB"), ("nats", "--size 24")] {
        let url = format!("{scheme}://localhost:{}", server.address().port());
        came_back(observed(&format!("--server {url} --tls-ca {roots} {more}")));
    }
}

#[test]
fn a_closed_loop_by_tls_is_as_fast_as_the_server_and_loses_nothing() {
    let certificates = Certificates::new();
    let server = Settings::new().tls(&certificates.server).start();
    let roots = certificates.authority.certificate.display();
    let line = format!(
        "publish --subject a --observe a --window 20000 --duration 1s --warmup 0s --settle 30s --json --server {} --tls-ca {roots}",
        server.url()
    );
    let load = done(&mut loadgen(&line)).ended(0).load();
    assert_eq!(n(&load, "sent"), n(&load, "received"));
    assert!(n(&load, "sent") >= 20_000, "{load}");
}

#[test]
fn a_server_is_trusted_only_by_its_certificate() {
    let certificates = Certificates::new();
    let run = |pair, roots: &millpond_tests::nats::Pair| {
        let server = Settings::new().tls(pair).start();
        let roots = roots.certificate.display();
        observed(&format!("--server {} --tls-ca {roots}", server.url())).ended(9)
    };
    run(&certificates.server, &certificates.other_authority)
        .says(&["nobody who is trusted", "--tls-ca"]);
    run(&certificates.other_host, &certificates.authority)
        .says(&["not for \"127.0.0.1\"", "elsewhere.test"]);
    run(&certificates.expired, &certificates.authority).says(&["expired"]);
    // The system trusts nobody who is not known to it.
    let server = Settings::new().tls(&certificates.server).start();
    let roots = certificates
        .other_authority
        .certificate
        .display()
        .to_string();
    let mut command = loadgen(&format!("publish --server {}", server.url()));
    done(command.env("SSL_CERT_FILE", roots))
        .ended(9)
        .says(&["nobody who is trusted"]);
}

#[test]
fn the_system_s_roots_are_those_that_its_environment_names() {
    let certificates = Certificates::new();
    let server = Settings::new().tls(&certificates.server).start();
    let line = format!(
        "publish --rate 100 --duration 200ms --warmup 0s --settle 20s --server {}",
        server.url()
    );
    let roots = &certificates.authority.certificate;
    done(loadgen(&line).env("SSL_CERT_FILE", roots)).ended(0);
}

#[test]
fn a_server_that_wants_a_certificate_is_shown_one() {
    let certificates = Certificates::new();
    let server = Settings::new()
        .tls_for(&certificates.server, &certificates.authority)
        .start();
    let shown = |pair: Option<&millpond_tests::nats::Pair>| {
        let pair = pair.map_or(String::new(), |pair| {
            let (certificate, key) = (pair.certificate.display(), pair.key.display());
            format!("--tls-cert {certificate} --tls-key {key}")
        });
        let roots = certificates.authority.certificate.display();
        observed(&format!(
            "--server {} --tls-ca {roots} {pair}",
            server.url()
        ))
    };
    came_back(shown(Some(&certificates.client)));
    shown(None).ended(9).says(&["--tls-cert"]);
    shown(Some(&certificates.stranger))
        .ended(9)
        .says(&["--tls-cert"]);
    // A certificate with another's key is known before the load.
    let mixed = format!(
        "publish --tls-cert {} --tls-key {}",
        certificates.client.certificate.display(),
        certificates.stranger.key.display()
    );
    done(&mut loadgen(&mixed))
        .ended(2)
        .says(&["can't be used together"]);
}

#[test]
fn who_asks_for_tls_never_goes_on_without_it() {
    let certificates = Certificates::new();
    let roots = certificates.authority.certificate.display();
    let server = Server::start();
    let address = server.address();
    for more in [
        format!("--server tls://{address}"),
        format!("--server nats://{address} --tls-ca {roots}"),
    ] {
        observed(&more).ended(9).says(&["offers no TLS"]);
    }
}

#[test]
fn an_nkey_signs_what_the_server_sends() {
    let (nkey, other) = (Nkey::new(), Nkey::new());
    let server = Settings::new().nkey(&nkey.public).start();
    let folder = Folder::new();
    let file = folder.path().join("user.nk");
    let run = || {
        observed(&format!(
            "--server {} --nkey {}",
            server.url(),
            file.display()
        ))
    };
    fs::write(&file, &nkey.seed).expect("the folder is there");
    came_back(run());
    fs::write(&file, format!("{}\n", nkey.seed)).expect("the folder is there");
    came_back(run());
    fs::write(&file, &other.seed).expect("the folder is there");
    let refused = run().ended(9).says(&["Authorization Violation", "nkey"]);
    assert!(!refused.err.contains(&other.seed));
    // A server that knows no nkeys sends nothing to sign.
    let service = Service::start(|_| Does::Answers);
    let line = format!(
        "request --subject in --server {} --nkey {}",
        service.url(),
        file.display()
    );
    done(&mut loadgen(&line))
        .ended(9)
        .says(&["nothing to sign"]);
    service.taken();
}

#[test]
fn a_credentials_file_lets_its_user_in() {
    let (operator, other) = (Operator::new(), Operator::new());
    let server = operator.settings().start();
    let run = |file: std::path::PathBuf| {
        observed(&format!(
            "--server {} --creds {}",
            server.url(),
            file.display()
        ))
    };
    came_back(run(operator.credentials("anna")));
    run(other.credentials("ben"))
        .ended(9)
        .says(&["Authorization Violation"]);
}

#[test]
fn a_token_and_a_password_may_come_from_the_environment_or_a_file() {
    let folder = Folder::new();
    let file = folder.path().join("secret");
    fs::write(&file, "let me in\n").expect("the folder is there");
    let token = Settings::new().token("let me in").start();
    let line = |server: &Server, more: &str| {
        format!(
            "publish --rate 100 --duration 200ms --warmup 0s --settle 20s --server {} {more}",
            server.url()
        )
    };
    let by_env = line(&token, "--token env:MILLPOND_TEST_TOKEN");
    done(loadgen(&by_env).env("MILLPOND_TEST_TOKEN", "let me in")).ended(0);
    let wrong = done(loadgen(&by_env).env("MILLPOND_TEST_TOKEN", "hunter2")).ended(9);
    assert!(!format!("{}{}", wrong.out, wrong.err).contains("hunter2"));
    let by_file = line(&token, &format!("--token file:{}", file.display()));
    done(&mut loadgen(&by_file)).ended(0);
    let user = Settings::new().user("anna", "let me in").start();
    let by_file = line(
        &user,
        &format!("--user anna --password file:{}", file.display()),
    );
    let report = done(&mut loadgen(&by_file)).ended(0);
    assert!(!format!("{}{}", report.out, report.err).contains("let me in"));
}

#[test]
fn of_several_servers_the_first_that_can_be_used_is_used() {
    // Nobody listens on a port that was just given back.
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let gone = listener.local_addr().expect("it listens");
    drop(listener);
    let closed = Settings::new().token("hunter2").start();
    let (first, second) = (Server::start(), Server::start());
    let (closed, open) = (closed.address(), first.address());
    let servers = format!("nats://{gone},{closed},nats://{open},{}", second.url());
    let ended = observed(&format!("--server {servers}"));
    assert_eq!(
        ended.err.matches("trying the next server").count(),
        2,
        "{}",
        ended.err
    );
    assert!(
        ended
            .out
            .contains(&format!("nats://{gone}, nats://{closed}, nats://{open}"))
    );
    came_back(ended);
    // It is the last one's fault that the load ends with.
    let none = observed(&format!("--server {gone},{closed}"));
    none.ended(9).says(&[
        "can't be reached",
        "trying the next server",
        "Authorization Violation",
    ]);
}
