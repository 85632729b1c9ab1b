//! The thread for what blocks before a connection is made: looking up names and reading credentials.
//!
//! One a process is enough. Owns its queue, which is bounded; a shard asks, is woken when there is an answer, and never waits.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::port::Unpark;

use super::auth::{Auth, AuthError, read_credentials};

/// Questions that wait for the thread. Default 64: as many shards as there may be, each with a few. At it a question counts as
/// one that failed, and is asked again after the delay of its server.
const QUESTIONS_MAX: usize = 64;
/// Addresses of one name that are tried. Default 16: more than a name has that means one server.
const ADDRESSES_MAX: usize = 16;
/// Stack of the thread, in bytes. Default 256 KiB: the system's resolver keeps its answers on it.
const STACK_BYTES: usize = 256 << 10;

/// What is to be found out.
struct Question {
    host: String,
    port: u16,
    credentials: Option<PathBuf>,
    answer: Arc<OnceLock<Answer>>,
    wake: Arc<dyn Unpark>,
}

/// What was found out.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// Where the host is: at least one address, or why there is none.
    pub(crate) addresses: Result<Vec<SocketAddr>, String>,
    /// What the file of credentials has in it, where there is one.
    pub(crate) credentials: Option<Result<Auth, AuthError>>,
}

/// A question that has been asked.
pub(crate) struct Lookup(Arc<OnceLock<Answer>>);

impl Lookup {
    /// The answer, if there is one by now.
    pub(crate) fn answer(&self) -> Option<&Answer> {
        self.0.get()
    }
}

/// Asks the thread. It ends when the last of these is gone.
#[derive(Clone)]
pub(crate) struct Resolver {
    questions: Sender<Question>,
    wake: Arc<dyn Unpark>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    /// Starts the thread; `wake` is woken at each answer.
    pub(crate) fn start(wake: Arc<dyn Unpark>) -> std::io::Result<Self> {
        let (questions, asked) = bounded(QUESTIONS_MAX);
        std::thread::Builder::new()
            .name("millpond-resolver".into())
            .stack_size(STACK_BYTES)
            .spawn(move || answer_all(&asked))?;
        Ok(Self { questions, wake })
    }

    /// Asks; `None` if too many have asked, or the thread is gone.
    pub(crate) fn ask(
        &self,
        host: &str,
        port: u16,
        credentials: Option<PathBuf>,
    ) -> Option<Lookup> {
        let answer = Arc::new(OnceLock::new());
        let question = Question {
            host: host.to_owned(),
            port,
            credentials,
            answer: Arc::clone(&answer),
            wake: Arc::clone(&self.wake),
        };
        match self.questions.try_send(question) {
            Ok(()) => Some(Lookup(answer)),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => None,
        }
    }
}

/// The thread.
fn answer_all(asked: &Receiver<Question>) {
    while let Ok(question) = asked.recv() {
        // Nobody waits for it any more: whoever asked has given up, or is gone.
        if Arc::strong_count(&question.answer) == 1 {
            continue;
        }
        let found = Answer {
            addresses: look_up(&question.host, question.port),
            credentials: question.credentials.as_deref().map(read_credentials),
        };
        let first = question.answer.set(found).is_ok();
        debug_assert!(first, "a question is answered once");
        question.wake.unpark();
    }
}

/// The addresses of a host, at least one.
fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = (host, port).to_socket_addrs();
    let found: Vec<_> = found
        .map_err(|error| error.to_string())?
        .take(ADDRESSES_MAX)
        .collect();
    match found.is_empty() {
        true => Err("it has no address".into()),
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{SyncSender, sync_channel};
    use std::time::Duration;

    struct Bell(SyncSender<()>);

    impl Unpark for Bell {
        fn unpark(&self) {
            self.0.send(()).expect("somebody listens");
        }
    }

    /// Longer than anything here takes; reached only when something is broken.
    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn an_answer_comes_and_wakes() {
        let (bell, woken) = sync_channel(8);
        let resolver = Resolver::start(Arc::new(Bell(bell))).unwrap();
        let lookup = resolver.ask("127.0.0.1", 7, Some("/nowhere/x.creds".into()));
        let lookup = lookup.expect("the queue is empty");
        woken.recv_timeout(LONG).unwrap();
        let answer = lookup.answer().expect("it is there when it wakes");
        let address: SocketAddr = "127.0.0.1:7".parse().unwrap();
        assert_eq!(answer.addresses, Ok(vec![address]));
        let credentials = answer.credentials.as_ref().expect("they were asked for");
        assert!(matches!(credentials, Err(AuthError::File { .. })));

        let nobody = resolver.ask("not a host name", 7, None).unwrap();
        woken.recv_timeout(LONG).unwrap();
        assert!(nobody.answer().unwrap().addresses.is_err());
    }

    #[test]
    fn questions_are_bounded_and_those_given_up_are_passed_over() {
        // Its bell has no room, so the thread stands still at its first answer until somebody hears.
        let (bell, woken) = sync_channel(0);
        let resolver = Resolver::start(Arc::new(Bell(bell))).unwrap();
        let ask = || resolver.ask("127.0.0.1", 7, None);
        let first = ask().unwrap();
        while first.answer().is_none() {
            std::thread::yield_now();
        }
        let waiting: Vec<Lookup> = (0..QUESTIONS_MAX).filter_map(|_| ask()).collect();
        assert_eq!(waiting.len(), QUESTIONS_MAX);
        assert!(ask().is_none(), "one over is refused");
        drop(waiting);
        woken.recv_timeout(LONG).unwrap();
        let last = loop {
            match ask() {
                Some(last) => break last,
                None => std::thread::yield_now(),
            }
        };
        woken.recv_timeout(LONG).unwrap();
        assert!(last.answer().is_some(), "those given up were passed over");
    }
}
