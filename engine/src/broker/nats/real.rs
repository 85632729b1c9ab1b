//! Connections to a real nats-server.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

use super::auth::{Auth, Secret};
use super::certificates::Authority;
use super::connection::Change;
use super::refusal::RefusalKind;
use super::settings::ConnectionFault;
use super::testing::{Rig, config};
use super::tls::{Roots, Tls, TlsOptions};

/// A server with a folder of its own; both end with this.
struct Server {
    child: Option<Child>,
    folder: PathBuf,
    port: u16,
}

impl Server {
    /// Starts one with this configuration besides its address.
    fn start(settings: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("millpond-nats-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        // Free a moment ago; whoever takes it in between makes the test fail, not pass.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let settings = settings.replace("FOLDER", folder.to_str().unwrap());
        std::fs::write(
            folder.join("server.conf"),
            format!("listen: \"127.0.0.1:{port}\"\n{settings}"),
        )
        .unwrap();
        let mut server = Self {
            child: None,
            folder,
            port,
        };
        server.run();
        server
    }

    fn run(&mut self) {
        let child = Command::new(millpond_tests::nats::binary())
            .arg("-c")
            .arg(self.folder.join("server.conf"))
            .arg("-l")
            .arg(self.folder.join("log"))
            .stdin(Stdio::null())
            .spawn();
        self.child = Some(child.expect("the server starts"));
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn url(&self, login: &str) -> String {
        format!("nats://{login}127.0.0.1:{}", self.port)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Why the server takes it not; attempts that came before it was there don't count.
fn refused(mut rig: Rig) -> RefusalKind {
    loop {
        match rig.fault().fault {
            ConnectionFault::Io { .. } => {}
            ConnectionFault::Refused(refusal) => return refusal.kind,
            other => panic!("{other:?}"),
        }
    }
}

/// Sends a message to itself through the server.
fn echo(rig: &mut Rig) {
    rig.live();
    let before = rig.messages.len();
    let writer = rig.connection.writer();
    writer.subscribe("a.*", Some("q"), 3).unwrap();
    writer
        .publish_bytes("a.b", Some("reply"), &[("K", "v")], b"hello")
        .unwrap();
    let now = rig.now();
    let barrier = rig.connection.barrier(now).unwrap();
    rig.until("the barrier", |rig| {
        rig.connection.has_passed(barrier).then_some(())
    });
    rig.messages(before + 1);
    let got = rig.messages.last().unwrap();
    assert_eq!(
        (got.sid, got.message.subject(), got.message.payload()),
        (3, "a.b", &b"hello"[..])
    );
    assert_eq!(got.message.reply_to(), Some("reply"));
    assert_eq!(got.message.headers().collect::<Vec<_>>(), [("K", "v")]);
}

fn rig_as(server: &Server, auth: Auth) -> Rig {
    let mut config = config(&server.url(""));
    config.auth = auth;
    Rig::with(config)
}

#[test]
fn passwords_and_permissions() {
    let server = Server::start(
        "authorization { users = [ { user: u, password: \"p@1\", permissions: { publish: \"a.>\", subscribe: [\"a.>\", \"x\"] } } ] }",
    );
    let mut rig = Rig::to(&server.url("u:p%401@"));
    echo(&mut rig);
    rig.connection
        .writer()
        .publish_bytes("b", None, &[], b"")
        .unwrap();
    rig.connection
        .writer()
        .subscribe("c", Some("q"), 9)
        .unwrap();
    rig.until("two refusals", |rig| {
        let refusals = rig
            .changes
            .iter()
            .filter(|c| matches!(c, Change::Refused(_)));
        (refusals.count() == 2).then_some(())
    });
    let kinds = rig.changes.iter().filter_map(|c| match c {
        Change::Refused(refusal) => Some(refusal.kind.clone()),
        _ => None,
    });
    let kinds: Vec<_> = kinds.collect();
    assert_eq!(
        kinds[0],
        RefusalKind::Publish {
            subject: "b".into()
        }
    );
    assert!(
        matches!(&kinds[1], RefusalKind::Subscription { subject, .. } if subject == "c"),
        "{kinds:?}"
    );
    assert!(rig.connection.is_live(), "it goes on");
    for login in ["", "u:wrong@", "nobody:p@"] {
        assert_eq!(
            refused(Rig::to(&server.url(login))),
            RefusalKind::Authorization,
            "{login}"
        );
    }
}

#[test]
fn tokens() {
    let server = Server::start("authorization { token: \"s3cr3t\" }");
    echo(&mut Rig::to(&server.url("s3cr3t@")));
    echo(&mut rig_as(&server, Auth::Token(Secret::new("s3cr3t"))));
    assert_eq!(
        refused(Rig::to(&server.url("wrong@"))),
        RefusalKind::Authorization
    );
}

#[test]
fn nkeys_are_signed_for() {
    let key = KeyPair::new_user();
    let seed = |key: &KeyPair| Auth::Nkey(Secret::new(key.seed().unwrap()));
    let server = Server::start(&format!(
        "authorization {{ users = [ {{ nkey: {} }} ] }}",
        key.public_key()
    ));
    echo(&mut rig_as(&server, seed(&key)));
    let other = KeyPair::new_user();
    assert_eq!(
        refused(rig_as(&server, seed(&other))),
        RefusalKind::Authorization
    );
}

/// A JWT of NATS, version 2: a claim about `subject`, signed by `issuer`.
fn jwt(issuer: &KeyPair, subject: &KeyPair, name: &str, nats: &Value) -> String {
    let part = |json: &Value| BASE64URL_NOPAD.encode(json.to_string().as_bytes());
    let header = part(&json!({"typ": "JWT", "alg": "ed25519-nkey"}));
    let claims = part(&json!({
        "jti": name, "iat": 1_700_000_000, "iss": issuer.public_key(), "name": name, "sub": subject.public_key(), "nats": nats
    }));
    let signed = format!("{header}.{claims}");
    let signature = BASE64URL_NOPAD.encode(&issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

#[test]
fn credentials_files_are_read_anew() {
    let (operator, account, user) = (
        KeyPair::new_operator(),
        KeyPair::new_account(),
        KeyPair::new_user(),
    );
    let unlimited = json!({"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1});
    let of_operator = jwt(
        &operator,
        &operator,
        "o",
        &json!({"type": "operator", "version": 2}),
    );
    let of_account = jwt(
        &operator,
        &account,
        "a",
        &json!({"type": "account", "version": 2, "limits": unlimited}),
    );
    let of_user = jwt(
        &account,
        &user,
        "u",
        &json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}),
    );
    let server = Server::start(&format!(
        "operator: \"{of_operator}\"\nresolver: MEMORY\nresolver_preload: {{ {}: \"{of_account}\" }}",
        account.public_key()
    ));
    let creds = |seed: &str| {
        format!(
            "-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    };
    let path = server.write("user.creds", &creds(&KeyPair::new_user().seed().unwrap()));
    let mut rig = rig_as(&server, Auth::CredentialsFile(path.clone()));
    rig.until("a refusal", |rig| {
        let refused = |c: &Change| matches!(c, Change::Failed(e) if matches!(e.fault, ConnectionFault::Refused(_)));
        rig.changes.iter().any(refused).then_some(())
    });
    server.write("user.creds", &creds(&user.seed().unwrap()));
    rig.skip(std::time::Duration::from_secs(5));
    echo(&mut rig);
}

#[test]
fn tls_with_a_client_certificate() {
    let authority = Authority::new("ours");
    let issued = authority.issue("127.0.0.1", false);
    let mut server = Server::start(
        "tls { cert_file: \"FOLDER/cert.pem\", key_file: \"FOLDER/key.pem\", ca_file: \"FOLDER/ca.pem\", verify: true }",
    );
    server.kill();
    server.write("cert.pem", &issued.certificate);
    server.write("key.pem", &issued.key);
    server.write("ca.pem", &authority.text());
    server.run();
    let mut config = config(&server.url(""));
    config.tls = Tls::load(&TlsOptions {
        roots: Roots::Only(authority.pem()),
        certificate: Some(authority.issue("client", false).shown()),
        handshake_first: false,
    })
    .unwrap();
    echo(&mut Rig::with(config));
}

#[test]
fn a_server_that_comes_back_is_found_again_and_again() {
    let mut server = Server::start("");
    let mut rig = Rig::to(&server.url(""));
    for _ in 0..5 {
        echo(&mut rig);
        server.kill();
        rig.until("its loss", |rig| (!rig.connection.is_live()).then_some(()));
        server.run();
    }
    echo(&mut rig);
    let lost = rig
        .changes
        .iter()
        .filter(|c| matches!(c, Change::Lost { .. }))
        .count();
    assert_eq!(lost, 5);
}
