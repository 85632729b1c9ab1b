//! A server that says what a test tells it to, to one client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use serde_json::Value;

/// What the scripted server does with a request.
pub(super) enum Reply {
    /// It answers with this.
    Json(Value),
    /// It says that nobody listens.
    Nobody,
    /// It says nothing.
    Silence,
}

/// A server for one connection.
pub(super) struct Scripted {
    url: String,
    thread: JoinHandle<Vec<String>>,
}

impl Scripted {
    /// Starts one of this version that answers requests, by subject and by how many there were before.
    pub(super) fn start(
        version: &str,
        reply: impl FnMut(&str, usize) -> Reply + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback address has ports");
        let port = listener.local_addr().expect("it is bound").port();
        let info = format!(
            r#"INFO {{"server_id":"S","server_name":"S","version":"{version}","go":"","host":"127.0.0.1","port":{port},"headers":true,"max_payload":1048576,"proto":1}}"#
        );
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("somebody connects");
            serve(stream, &info, reply)
        });
        Self {
            url: format!("nats://127.0.0.1:{port}"),
            thread,
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The subjects that it was asked, once its client is gone.
    pub(super) fn asked(self) -> Vec<String> {
        self.thread.join().expect("it runs to its client's end")
    }
}

fn serve(
    mut stream: TcpStream,
    info: &str,
    mut reply: impl FnMut(&str, usize) -> Reply,
) -> Vec<String> {
    let mut lines = BufReader::new(stream.try_clone().expect("a socket can be shared"));
    let (mut asked, mut sid) = (Vec::new(), String::new());
    // A client that is gone is found by reading.
    let mut say = move |text: String| drop(stream.write_all(text.as_bytes()));
    say(format!("{info}\r\n"));
    let mut line = String::new();
    while matches!(lines.read_line(&mut line), Ok(length) if length > 0) {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        line.clear();
        match words.first().map(String::as_str) {
            Some("PING") => say("PONG\r\n".to_owned()),
            Some("SUB") => sid = words.last().expect("it has one").clone(),
            Some("PUB") => {
                let length: usize = words[words.len() - 1].parse().expect("a length");
                let mut body = vec![0; length + 2];
                lines.read_exact(&mut body).expect("the body follows");
                let to = &words[2];
                match reply(&words[1], asked.len()) {
                    Reply::Json(json) => {
                        let json = json.to_string();
                        say(format!("MSG {to} {sid} {}\r\n{json}\r\n", json.len()));
                    }
                    Reply::Nobody => {
                        say(format!("HMSG {to} {sid} 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"))
                    }
                    Reply::Silence => {}
                }
                asked.push(words[1].clone());
            }
            _ => {}
        }
    }
    asked
}
