//! A service of its own that speaks the protocol, and does to each message what its test says: delays it, loses it, sends it twice,
//! holds it back behind the next, damages it, or stands still.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the service does with the message of this number, counted from 0 in the order that they come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does {
    /// Answers at once.
    Answers,
    /// Answers so much later, and meanwhile whatever else there is.
    Delays(Duration),
    /// Stands still for so long, then answers.
    Stalls(Duration),
    /// Never answers.
    Loses,
    /// Answers twice.
    Doubles,
    /// Answers behind the next one that it answers.
    Swaps,
    /// Answers with this byte of the payload changed.
    Damages(usize),
    /// Closes the connection.
    Hangs,
    /// Says so.
    Refuses(&'static str),
}

type Script = fn(u64) -> Does;

/// A service on a port of its own, for one client.
pub(crate) struct Service {
    address: SocketAddr,
    thread: JoinHandle<u64>,
}

/// A message that the client sent.
struct Post {
    subject: String,
    reply: Option<String>,
    head: Vec<u8>,
    payload: Vec<u8>,
}

impl Service {
    /// Answers requests, and passes what has no reply subject on to who hears `out`.
    pub(crate) fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it listens");
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("it listens");
            serve(stream, script)
        });
        Self { address, thread }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Once the client has gone: how many messages it sent.
    pub(crate) fn taken(self) -> u64 {
        self.thread.join().expect("the service does not panic")
    }
}

fn serve(stream: TcpStream, script: Script) -> u64 {
    let info = r#"INFO {"server_id":"S","version":"2.15.1","proto":1,"max_payload":1048576,"headers":true}"#;
    say(&stream, info.as_bytes());
    let mut delays = Delays::default();
    let mut reader = BufReader::new(stream.try_clone().expect("a socket may be cloned"));
    let (mut subscriptions, mut held, mut taken) = (HashMap::new(), None::<Vec<u8>>, 0);
    let mut line = String::new();
    loop {
        line.clear();
        // A client that goes may do so in the middle of anything.
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            break;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["PING"] => say(&stream, b"PONG"),
            ["SUB", subject, number] => {
                subscriptions.insert((*subject).to_owned(), (*number).to_owned());
            }
            ["PUB" | "HPUB", ..] => {
                let post = Post::read(&words, &mut reader);
                let does = script(taken);
                taken += 1;
                let answer = post.answer(&subscriptions, does);
                match does {
                    Does::Answers | Does::Damages(_) => say(&stream, &answer),
                    Does::Doubles => [&answer, &answer]
                        .into_iter()
                        .for_each(|answer| say(&stream, answer)),
                    Does::Delays(time) => delays.add(&stream, time, answer),
                    Does::Stalls(time) => {
                        wait_until(now() + time);
                        say(&stream, &answer);
                    }
                    Does::Swaps => {
                        held = Some(answer);
                        continue;
                    }
                    Does::Loses => continue,
                    Does::Hangs => break,
                    Does::Refuses(why) => say(&stream, format!("-ERR '{why}'").as_bytes()),
                }
                if let Some(held) = held.take() {
                    say(&stream, &held);
                }
            }
            _ => {}
        }
    }
    // A reader that has been told why it is ended reads that first.
    let _ = stream.shutdown(std::net::Shutdown::Both);
    delays.end();
    taken
}

/// A thread for each delay: so the answers of one are in the order of their times.
#[derive(Default)]
struct Delays(HashMap<Duration, (SyncSender<Answer>, JoinHandle<()>)>);

/// An answer, and when it is due.
type Answer = (Instant, Vec<u8>);

impl Delays {
    fn add(&mut self, stream: &TcpStream, delay: Duration, answer: Vec<u8>) {
        let (sender, _) = self.0.entry(delay).or_insert_with(|| {
            let (sender, due) = sync_channel(1 << 16);
            let writer = stream.try_clone().expect("a socket may be cloned");
            (
                sender,
                std::thread::spawn(move || answer_later(&writer, &due)),
            )
        });
        sender
            .send((now() + delay, answer))
            .expect("its receiver waits for the end");
    }

    fn end(self) {
        for (sender, thread) in self.0.into_values() {
            drop(sender);
            thread.join().expect("it does not panic");
        }
    }
}

/// Writes each answer at its time.
fn answer_later(stream: &TcpStream, due: &Receiver<Answer>) {
    for (at, answer) in due {
        wait_until(at);
        say(stream, &answer);
    }
}

/// Waits for a time: what a delay is.
fn wait_until(at: Instant) {
    let (_never, none): (SyncSender<()>, _) = sync_channel(0);
    while let Some(left) = at
        .checked_duration_since(now())
        .filter(|left| !left.is_zero())
    {
        assert_eq!(none.recv_timeout(left), Err(RecvTimeoutError::Timeout));
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a service that delays reads the clock"
)]
fn now() -> Instant {
    Instant::now()
}

/// Writes a line, or a message without its last line end. A client that has gone needs none.
fn say(mut stream: &TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(&[bytes, b"\r\n"].concat());
}

impl Post {
    fn read(words: &[&str], reader: &mut impl Read) -> Self {
        let number = |word: &str| word.parse::<usize>().expect("a client writes sizes");
        let (head, total, names) = match words {
            ["PUB", names @ .., total] => (0, number(total), names),
            ["HPUB", names @ .., head, total] => (number(head), number(total), names),
            _ => panic!("a client writes what the protocol has: {words:?}"),
        };
        let mut body = vec![0; total + 2];
        reader
            .read_exact(&mut body)
            .expect("a client writes whole messages");
        Self {
            subject: names[0].to_owned(),
            reply: names.get(1).map(|reply| (*reply).to_owned()),
            payload: body[head..total].to_vec(),
            head: body[..head].to_vec(),
        }
    }

    /// The message that goes back: to its reply subject, or on `out`.
    fn answer(mut self, subscriptions: &HashMap<String, String>, does: Does) -> Vec<u8> {
        assert!(self.subject.starts_with("in"), "{}", self.subject);
        if let Does::Damages(at) = does {
            self.payload[at] ^= 0x20;
        }
        let subject = self.reply.unwrap_or_else(|| "out".to_owned());
        let pattern = match subject.rsplit_once('.') {
            Some((begin, _)) => format!("{begin}.*"),
            None => subject.clone(),
        };
        let number = subscriptions
            .get(&pattern)
            .expect("the client has subscribed");
        let (head, payload) = (&self.head, &self.payload);
        let total = head.len() + payload.len();
        let line = match head.is_empty() {
            true => format!("MSG {subject} {number} {total}\r\n"),
            false => format!("HMSG {subject} {number} {} {total}\r\n", head.len()),
        };
        [line.as_bytes(), head, payload].concat()
    }
}
