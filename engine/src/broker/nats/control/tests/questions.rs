//! What is asked while the engine runs.

use std::sync::Arc;
use std::task::{Wake, Waker};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::*;

/// Says that it was woken.
struct Bell(Sender<()>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let _ = self.0.try_send(());
    }
}

fn bell() -> (Waker, Receiver<()>) {
    let (ring, rung) = bounded(64);
    (Waker::from(Arc::new(Bell(ring))), rung)
}

#[track_caller]
fn answer(asker: &mut Asker, rung: &Receiver<()>) -> (Ticket, Answer) {
    rung.recv_timeout(LIMIT).expect("an answer comes");
    asker.poll().expect("it has come")
}

fn about(subject: &str) -> Question {
    let (handler, publishes) = ("h".to_owned(), vec![subject.to_owned()]);
    Question::Captured { handler, publishes }
}

#[test]
fn questions_are_answered_in_turn_and_a_consumer_that_is_gone_is_bound_again() {
    let (server, client) = ready();
    let api = Api::start(access(&server.url())).expect("the system has threads");
    let (wake, rung) = bell();
    let mut asker = api.asker(wake);
    assert!(asker.poll().is_none());
    client.delete_consumer("IN", "D");
    let gone = Question::Bind(Box::new(wanted()));
    let tickets = [gone, about("none")].map(|question| asker.ask(question).expect("there is room"));
    let (ticket, Answer::Bound(Err(why))) = answer(&mut asker, &rung) else {
        panic!("it is gone");
    };
    assert!(
        matches!(why, BindError::Consumer { .. }) && ticket == tickets[0],
        "{why}"
    );
    let (ticket, Answer::Captured(Ok(nothing))) = answer(&mut asker, &rung) else {
        panic!("no stream is no error");
    };
    assert!(nothing.is_empty() && ticket == tickets[1]);
    let again = Wanted {
        create: Some(CreateConsumer::default()),
        ..wanted()
    };
    asker
        .ask(Question::Bind(Box::new(again)))
        .expect("there is room");
    let (_, Answer::Bound(bound)) = answer(&mut asker, &rung) else {
        panic!("another answer");
    };
    assert_eq!(bound.expect("it is made").consumer, "D");
    client.create_stream("OUT", &["out"], json!({}));
    asker.ask(about("out")).expect("there is room");
    let (_, Answer::Captured(captured)) = answer(&mut asker, &rung) else {
        panic!("another answer");
    };
    assert_eq!(captured.expect("it is asked").stream_of("out"), Some("OUT"));
}

#[test]
fn a_question_too_many_is_given_back_and_asked_again_when_an_answer_was_taken() {
    let api = Api::start(access("nats://127.0.0.1:1")).expect("the system has threads");
    let (wake, rung) = bell();
    let mut asker = api.asker(wake);
    for _ in 0..16 {
        asker.ask(about("D")).expect("there is room");
    }
    let Err(Question::Captured { publishes, .. }) = asker.ask(about("E")) else {
        panic!("there is no room");
    };
    assert_eq!(publishes, ["E"]);
    let first = answer(&mut asker, &rung).1;
    assert!(matches!(
        first,
        Answer::Captured(Err(BindError::Connect(ConnectError::Unreachable { .. })))
    ));
    asker.ask(about("E")).expect("there is room again");
    let mut other = api.asker(Waker::noop().clone());
    other
        .ask(about("D"))
        .expect("another shard has its own room");
}

#[test]
fn the_server_may_come_late_and_go_and_come_back() {
    let (mut server, _client) = ready();
    server.stop();
    let api = Api::start(access(&server.url())).expect("the system has threads");
    let (wake, rung) = bell();
    let mut asker = api.asker(wake);
    asker.ask(about("D")).expect("there is room");
    assert!(matches!(
        answer(&mut asker, &rung).1,
        Answer::Captured(Err(_))
    ));
    server.restart();
    for _ in 0..3 {
        // What was asked while the connection broke may have no answer.
        let found = (0..10).any(|_| {
            asker.ask(about("D")).expect("there is room");
            matches!(answer(&mut asker, &rung).1, Answer::Captured(Ok(_)))
        });
        assert!(found, "the server is there");
        server.restart();
    }
}

#[test]
fn ending_it_ends_a_question_that_nobody_answers() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there are ports");
    let url = format!("nats://{}", listener.local_addr().expect("it is bound"));
    let api = Api::start(access(&url)).expect("the system has threads");
    let (wake, _rung) = bell();
    let mut asker = api.asker(wake);
    asker.ask(about("D")).expect("there is room");
    let (_connection, _) = listener.accept().expect("it connects, and is told nothing");
    drop(api);
    assert!(
        asker.ask(about("D")).is_err() && asker.poll().is_none(),
        "nobody answers any more"
    );
}
