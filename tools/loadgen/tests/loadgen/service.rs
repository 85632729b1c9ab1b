//! A service of its own that speaks the protocol, and does to each message what its test says: delays it, loses it, sends it twice,
//! holds it back behind the next, damages it, or stands still.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the service does with the message of this number, counted from 0 in the order that they come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does {
    /// Answers at once.
    Answers,
    /// Answers so much later, and meanwhile whatever else there is.
    Delays(Duration),
    /// Holds it until so many are held, then answers all of them.
    Gathers(usize),
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
    /// Is a stream: passes it on to who hears `out`, unless it is refused, and then acknowledges it so.
    Stores(Ack),
    /// Closes the connection.
    Hangs,
    /// Says so.
    Refuses(&'static str),
}

/// How a stream acknowledges a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ack {
    /// Once, at once.
    Once,
    /// Never.
    Never,
    /// Twice.
    Twice,
    /// So much later.
    Later(Duration),
    /// By an error: it is not stored.
    Refuses,
}

type Script = fn(u64) -> Does;

/// A service on a port of its own, for one client with any number of connections.
pub(crate) struct Service {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    shared: Arc<Shared>,
    thread: JoinHandle<Vec<Vec<Arrival>>>,
}

/// What came in.
pub(crate) struct Seen {
    /// What came in on each connection, in its order.
    pub(crate) connections: Vec<Vec<Arrival>>,
    /// The most messages that it held back at once, to delay or to gather them.
    pub(crate) held_most: u64,
    /// When it answered each message that it answered at once, late or after a stall, by its number.
    pub(crate) answered: HashMap<u64, Instant>,
}

impl Seen {
    /// All that came in.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arrival> {
        self.connections.iter().flatten()
    }

    /// How many messages.
    pub(crate) fn count(&self) -> u64 {
        self.all().count() as u64
    }
}

/// A message that came in.
pub(crate) struct Arrival {
    /// When.
    pub(crate) at: Instant,
    /// Where to.
    pub(crate) subject: String,
    /// Its header block; empty where there is none.
    pub(crate) head: String,
    /// Bytes of its payload.
    pub(crate) bytes: usize,
}

/// What all connections have in common.
#[derive(Default)]
struct Shared {
    /// Messages that came in.
    taken: AtomicU64,
    /// Messages that are held back, and the most that ever were.
    held: AtomicU64,
    held_most: AtomicU64,
    /// When each was answered.
    answered: Mutex<HashMap<u64, Instant>>,
}

impl Shared {
    fn take(&self) {
        let held = self.held.fetch_add(1, SeqCst) + 1;
        self.held_most.fetch_max(held, SeqCst);
    }

    /// Notes that a message is answered, before it is.
    fn answers(&self, number: u64) {
        let mut answered = self.answered.lock().expect("nobody panics with it");
        answered.insert(number, now());
    }

    /// Before an answer is written: once the client has it, it may send the next.
    fn give(&self, count: u64) {
        self.held.fetch_sub(count, SeqCst);
    }
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
        let (ended, shared) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (ends, shares) = (Arc::clone(&ended), Arc::clone(&shared));
        let thread = std::thread::spawn(move || {
            let mut clients = Vec::new();
            loop {
                let (stream, _) = listener.accept().expect("it listens");
                if ends.load(SeqCst) {
                    break;
                }
                let shared = Arc::clone(&shares);
                clients.push(std::thread::spawn(move || serve(stream, script, &shared)));
            }
            let seen = clients.into_iter().map(JoinHandle::join);
            seen.map(|seen| seen.expect("no connection's thread panics"))
                .collect()
        });
        Self {
            address,
            ended,
            shared,
            thread,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Once the client has gone: what it sent.
    pub(crate) fn seen(self) -> Seen {
        self.ended.store(true, SeqCst);
        // Which the service takes for a sign that no more come.
        drop(TcpStream::connect(self.address).expect("it listens"));
        Seen {
            connections: self.thread.join().expect("the service does not panic"),
            held_most: self.shared.held_most.load(SeqCst),
            answered: std::mem::take(&mut self.shared.answered.lock().expect("it has ended")),
        }
    }

    /// The same, and how many messages that was.
    pub(crate) fn taken(self) -> u64 {
        self.seen().count()
    }
}

fn serve(stream: TcpStream, script: Script, shared: &Arc<Shared>) -> Vec<Arrival> {
    let info = r#"INFO {"server_id":"S","version":"2.15.1","proto":1,"max_payload":1048576,"headers":true}"#;
    say(&stream, info.as_bytes());
    let (mut delays, mut gathered) = (Delays::new(shared), Gathered::new(shared));
    let mut reader = BufReader::new(stream.try_clone().expect("a socket may be cloned"));
    let (mut seen, mut subscriptions) = (Vec::new(), HashMap::new());
    let mut swapped = None::<Vec<u8>>;
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
                let number = shared.taken.fetch_add(1, SeqCst);
                let does = script(number);
                seen.push(post.arrived());
                let answer = post.answer(&subscriptions, does);
                match does {
                    Does::Answers | Does::Damages(_) => {
                        shared.answers(number);
                        say(&stream, &answer);
                    }
                    Does::Doubles => [&answer, &answer]
                        .into_iter()
                        .for_each(|answer| say(&stream, answer)),
                    Does::Delays(time) => delays.add(&stream, time, (number, answer)),
                    Does::Gathers(many) => gathered.add(&stream, many, answer),
                    Does::Stalls(time) => {
                        wait_until(now() + time);
                        shared.answers(number);
                        say(&stream, &answer);
                    }
                    Does::Swaps => {
                        swapped = Some(answer);
                        continue;
                    }
                    Does::Stores(ack) => {
                        if ack != Ack::Refuses {
                            say(&stream, &post.passed(&subscriptions));
                        }
                        match (ack, post.acks(&subscriptions, number, ack)) {
                            (Ack::Later(time), said) => {
                                for ack in said {
                                    delays.add(&stream, time, (number, ack));
                                }
                            }
                            (_, said) => said.iter().for_each(|ack| say(&stream, ack)),
                        }
                    }
                    Does::Loses => continue,
                    Does::Hangs => break,
                    Does::Refuses(why) => say(&stream, format!("-ERR '{why}'").as_bytes()),
                }
                if let Some(swapped) = swapped.take() {
                    say(&stream, &swapped);
                }
            }
            _ => {}
        }
    }
    // A reader that has been told why it is ended reads that first.
    let _ = stream.shutdown(std::net::Shutdown::Both);
    delays.end();
    seen
}

/// A thread for each delay: so the answers of one are in the order of their times.
struct Delays {
    threads: HashMap<Duration, (SyncSender<Answer>, JoinHandle<()>)>,
    shared: Arc<Shared>,
}

/// An answer, to which message it is, and when it is due.
type Answer = (Instant, u64, Vec<u8>);

impl Delays {
    fn new(shared: &Arc<Shared>) -> Self {
        Self {
            threads: HashMap::new(),
            shared: Arc::clone(shared),
        }
    }

    fn add(&mut self, stream: &TcpStream, delay: Duration, (number, answer): (u64, Vec<u8>)) {
        let shared = &self.shared;
        shared.take();
        let (sender, _) = self.threads.entry(delay).or_insert_with(|| {
            let (sender, due) = sync_channel(1 << 16);
            let writer = stream.try_clone().expect("a socket may be cloned");
            let shared = Arc::clone(shared);
            let thread = std::thread::spawn(move || answer_later(&writer, &due, &shared));
            (sender, thread)
        });
        sender
            .send((now() + delay, number, answer))
            .expect("its receiver waits for the end");
    }

    fn end(self) {
        for (sender, thread) in self.threads.into_values() {
            drop(sender);
            thread.join().expect("it does not panic");
        }
    }
}

/// Answers that wait for others.
struct Gathered {
    answers: Vec<Vec<u8>>,
    shared: Arc<Shared>,
}

impl Gathered {
    fn new(shared: &Arc<Shared>) -> Self {
        Self {
            answers: Vec::new(),
            shared: Arc::clone(shared),
        }
    }

    /// Holds this one too; answers all once there are so many.
    fn add(&mut self, stream: &TcpStream, many: usize, answer: Vec<u8>) {
        self.shared.take();
        self.answers.push(answer);
        if self.answers.len() == many {
            self.shared.give(many as u64);
            self.answers
                .drain(..)
                .for_each(|answer| say(stream, &answer));
        }
    }
}

/// Writes each answer at its time.
fn answer_later(stream: &TcpStream, due: &Receiver<Answer>, shared: &Shared) {
    for (at, number, answer) in due {
        wait_until(at);
        shared.give(1);
        shared.answers(number);
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

    /// What a test may look at.
    fn arrived(&self) -> Arrival {
        Arrival {
            at: now(),
            subject: self.subject.clone(),
            head: String::from_utf8_lossy(&self.head).into_owned(),
            bytes: self.payload.len(),
        }
    }

    /// The message that goes back: to its reply subject, or on `out`.
    fn answer(&self, subscriptions: &Subscriptions, does: Does) -> Vec<u8> {
        assert!(self.subject.starts_with("in"), "{}", self.subject);
        let mut payload = self.payload.clone();
        if let Does::Damages(at) = does {
            payload[at] ^= 0x20;
        }
        let subject = self.reply.as_deref().unwrap_or(OUT);
        message(subject, &self.head, &payload, subscriptions)
    }

    /// The message as who observes it hears it.
    fn passed(&self, subscriptions: &Subscriptions) -> Vec<u8> {
        message(OUT, &self.head, &self.payload, subscriptions)
    }

    /// What a stream says of the message of this number.
    fn acks(&self, subscriptions: &Subscriptions, number: u64, ack: Ack) -> Vec<Vec<u8>> {
        let stored = format!("{{\"stream\":\"IN\",\"seq\":{}}}", number + 1);
        let full = "{\"error\":{\"code\":503,\"description\":\"full\"}}".to_owned();
        let said = match ack {
            Ack::Never => Vec::new(),
            Ack::Once | Ack::Later(_) => vec![stored],
            Ack::Twice => vec![stored.clone(), stored],
            Ack::Refuses => vec![full],
        };
        let reply = self.reply.as_deref().expect("it is to be acknowledged");
        let said = said.iter();
        said.map(|said| message(reply, b"", said.as_bytes(), subscriptions))
            .collect()
    }
}

/// Where messages are observed.
const OUT: &str = "out";

/// The numbers of what a client has subscribed to.
type Subscriptions = HashMap<String, String>;

/// A message to a client, without its last line end.
fn message(subject: &str, head: &[u8], payload: &[u8], subscriptions: &Subscriptions) -> Vec<u8> {
    let pattern = match subject.rsplit_once('.') {
        Some((begin, _)) => format!("{begin}.*"),
        None => subject.to_owned(),
    };
    let number = subscriptions
        .get(&pattern)
        .expect("the client has subscribed");
    let total = head.len() + payload.len();
    let line = match head.is_empty() {
        true => format!("MSG {subject} {number} {total}\r\n"),
        false => format!("HMSG {subject} {number} {} {total}\r\n", head.len()),
    };
    [line.as_bytes(), head, payload].concat()
}
