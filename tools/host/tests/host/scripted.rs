//! `millpond run` on a server that says what real ones say only in trouble.

use millpond_tests::nats::Scripted;
use millpond_tests::program::{Program, Signal};

use super::serve::run_on;

/// What nats-server says before it closes a connection (server/errors.go and the places that use it).
const ENDS: [&str; 10] = [
    "Authorization Violation",
    "User Authentication Revoked",
    "User Authentication Expired",
    "Authentication Timeout",
    "Maximum Payload Violation",
    "maximum connections exceeded",
    "Stale Connection",
    "Slow Consumer",
    "Secure Connection - TLS Required",
    "Parser Error",
];

#[test]
fn each_refusal_that_ends_a_connection_is_logged_and_it_is_made_again() {
    let server = Scripted::start();
    let mut program = Program::start(&mut run_on(&server.url(), "echo", &[]));
    for (round, text) in ENDS.iter().enumerate() {
        let stream = server.greeted("echo");
        if round == 0 {
            program.wait_for("ready");
        }
        Scripted::refuse(stream, text);
        program.wait_for(text);
    }
    let stream = server.greeted("echo");
    program.signal(Signal::TERM);
    drop(stream);
    assert_eq!(program.ended().code(), Some(0));
}
