//! Questions to the server while the engine runs: shards ask without waiting, one thread asks JetStream, and answers are polled.
//!
//! Owns that thread and the two bounded queues a shard. Connects when the first question comes.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::{Notify, oneshot};

use super::access::Access;
use super::captured::Captured;
use super::error::BindError;
use super::session::{Doing, Session};
use super::stream::Streams;
use super::wanted::{Bound, Wanted};
use super::{bind_all, outputs};

/// Questions of all shards that wait. Default 256: 16 shards with all theirs. At it a question is given back.
const QUESTIONS_MAX: usize = 256;
/// Questions of one shard that are not answered. Default 16. At it a question is given back.
const ASKED_MAX: usize = 16;
/// How long one question may take, connecting included. Default 10 s.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Something to be asked.
#[derive(Debug)]
pub(crate) enum Question {
    /// Which streams capture what a handler may publish, as they are now.
    Captured {
        /// The handler.
        handler: String,
        /// What it may publish to.
        publishes: Vec<String>,
    },
    /// To bind a handler again, whose consumer is gone: found, or made where that is configured.
    Bind(Box<Wanted>),
}

/// What became of a question.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The table of a handler's sends.
    Captured(Result<Captured, BindError>),
    /// What a handler is bound to.
    Bound(Result<Box<Bound>, BindError>),
}

/// Which question an answer is to; unique to its asker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ticket(u64);

/// A question on its way.
struct Asked {
    ticket: Ticket,
    question: Question,
    /// Never full: it has as much room as its asker may have questions.
    answers: Sender<(Ticket, Answer)>,
    wake: Waker,
}

/// The thread that asks. Dropping it ends what is being asked, and leaves the rest unanswered.
pub(crate) struct Api {
    questions: Sender<Asked>,
    /// Rung with each question.
    bell: Arc<Notify>,
    /// Both `Some` until it is dropped.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Api {
    /// Starts the thread. Nothing is connected yet.
    ///
    /// # Errors
    /// The system has no thread or no poller.
    pub(crate) fn start(access: Access) -> io::Result<Self> {
        let (questions, asked) = bounded(QUESTIONS_MAX);
        let bell = Arc::new(Notify::new());
        let rung = Arc::clone(&bell);
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let run = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = answer_all(&access, &asked, &rung) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        };
        let thread = Builder::new()
            .name("millpond-control".to_owned())
            .spawn(run)?;
        Ok(Self {
            questions,
            bell,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// A shard's own way to ask; `wake` is called when an answer has come.
    pub(crate) fn asker(&self, wake: Waker) -> Asker {
        let (answers, answered) = bounded(ASKED_MAX);
        Asker {
            questions: self.questions.clone(),
            bell: Arc::clone(&self.bell),
            answers,
            answered,
            wake,
            asked: 0,
            taken: 0,
        }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been told by the hook; here it ends nothing more.
            let _ = thread.join();
        }
    }
}

/// One shard's questions and answers.
pub(crate) struct Asker {
    questions: Sender<Asked>,
    bell: Arc<Notify>,
    answers: Sender<(Ticket, Answer)>,
    answered: Receiver<(Ticket, Answer)>,
    wake: Waker,
    /// Questions that were taken, ever.
    asked: u64,
    /// Answers that were taken, ever.
    taken: u64,
}

impl Asker {
    /// Asks, and does not wait.
    ///
    /// # Errors
    /// Too many questions wait, or nobody answers any more: the question, to be asked later.
    pub(crate) fn ask(&mut self, question: Question) -> Result<Ticket, Question> {
        if self.asked - self.taken >= ASKED_MAX as u64 {
            return Err(question);
        }
        let ticket = Ticket(self.asked);
        let asked = Asked {
            ticket,
            question,
            answers: self.answers.clone(),
            wake: self.wake.clone(),
        };
        match self.questions.try_send(asked) {
            Ok(()) => {
                self.bell.notify_one();
                self.asked += 1;
                Ok(ticket)
            }
            Err(full) => Err(full.into_inner().question),
        }
    }

    /// The next answer, if one has come.
    pub(crate) fn poll(&mut self) -> Option<(Ticket, Answer)> {
        let answer = self.answered.try_recv().ok()?;
        self.taken += 1;
        Some(answer)
    }
}

/// Answers one question after the other, over a connection that is made for the first and kept.
async fn answer_all(access: &Access, questions: &Receiver<Asked>, bell: &Notify) {
    let doing: Doing = Rc::new(RefCell::new(String::new()));
    let mut session = None;
    loop {
        // A ring while nobody waited is kept, so a question that comes now is not overlooked.
        let Ok(asked) = questions.try_recv() else {
            bell.notified().await;
            continue;
        };
        let answer = answer(access, &doing, &mut session, asked.question).await;
        debug_assert!(
            !asked.answers.is_full(),
            "an asker has room for its answers"
        );
        // An asker that is gone wants no answer.
        let _ = asked.answers.try_send((asked.ticket, answer));
        asked.wake.wake();
    }
}

/// Answers one question.
async fn answer(
    access: &Access,
    doing: &Doing,
    session: &mut Option<Session>,
    question: Question,
) -> Answer {
    match question {
        Question::Captured { handler, publishes } => {
            let ask = async |session: &Session| {
                let mut streams = Streams::new(session);
                outputs::captured(&mut streams, &handler, &publishes).await
            };
            Answer::Captured(asked(access, doing, session, ask).await)
        }
        Question::Bind(wanted) => {
            let ask = async |session: &Session| {
                let bound = bind_all(session, std::slice::from_ref(&*wanted)).await?;
                Ok(bound
                    .into_iter()
                    .map(Box::new)
                    .next()
                    .expect("one for each"))
            };
            Answer::Bound(asked(access, doing, session, ask).await)
        }
    }
}

/// Asks within the time that a question may take, over the connection that there is, or a new one. One that fails is given up.
async fn asked<T>(
    access: &Access,
    doing: &Doing,
    session: &mut Option<Session>,
    ask: impl AsyncFnOnce(&Session) -> Result<T, BindError>,
) -> Result<T, BindError> {
    let work = async {
        let session = match session.as_ref() {
            Some(session) => session,
            None => session.insert(Session::connect(access, Rc::clone(doing)).await?),
        };
        ask(session).await
    };
    let done = tokio::time::timeout(ANSWER_WAIT, work).await;
    let done = done.unwrap_or_else(|_| {
        let (limit, doing) = (ANSWER_WAIT, doing.take());
        Err(BindError::Time { limit, doing })
    });
    if done.as_ref().is_err_and(BindError::is_of_the_connection) {
        *session = None;
    }
    done
}
