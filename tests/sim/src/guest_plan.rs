//! What one call of a scripted guest does: made of its messages' scripts, when it begins.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use crate::guest::ScriptedGuest;
use crate::message::{Format, Message};
use crate::outbox::{GuestConfiguration, Lent, Mark, Outbox};
use crate::outcome::FaultKind;
use crate::scenario::{OUT_PLAIN, Script};
use crate::seams::{Call, Used};
use crate::wire::{Origin, inputs, serial};

/// A time above every deadline.
const ENDLESS: Duration = Duration::from_secs(60);

/// A part of a call.
#[derive(Debug)]
pub(crate) enum Step {
    /// It runs.
    Run(Duration),
    /// It waits.
    Wait(Duration),
}

/// What a guest's sends lie in.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    arena: Vec<u8>,
    rows: Vec<[u32; 6]>,
}

impl Used for Memory {
    fn lent(&self) -> Lent<'_> {
        Lent {
            bytes: &self.arena,
            rows: &self.rows,
        }
    }
}

/// How a call goes, unless something cuts it short.
#[derive(Debug)]
pub(crate) struct Course {
    pub(crate) steps: VecDeque<Step>,
    /// What the guest returns.
    pub(crate) result: Result<(), FaultKind>,
    /// Whether a send found no room.
    pub(crate) overflowed: bool,
    /// Sends that are held.
    pub(crate) sends: u32,
    /// What it says of each message.
    pub(crate) marks: Vec<Option<Mark>>,
    /// Whether it updates the configuration.
    pub(crate) updates: bool,
    /// Messages that it comes to, the one included that ends it.
    pub(crate) met: usize,
    /// Whether it says which message each send is for; and then what these lie in, and how many bytes those have that are held.
    pub(crate) attributes: bool,
    pub(crate) memory: Memory,
    held: usize,
}

impl Course {
    /// How long it runs in all.
    pub(crate) fn running_time(&self) -> Duration {
        let run = |step: &Step| match step {
            Step::Run(time) => *time,
            Step::Wait(_) => Duration::ZERO,
        };
        self.steps.iter().map(run).sum()
    }

    /// What the shard is to make of its end: one that sent too much has failed, whatever the guest says.
    pub(crate) fn verdict(&self) -> Result<(), FaultKind> {
        match self.overflowed {
            true => Err(FaultKind::Outbox),
            false => self.result,
        }
    }

    fn run(&mut self, time: Duration) {
        match self.steps.back_mut() {
            Some(Step::Run(before)) => *before += time,
            _ => self.steps.push_back(Step::Run(time)),
        }
    }
}

/// Plans a call, and puts what it holds into its outbox.
pub(crate) fn course(guest: &mut ScriptedGuest, call: &mut Call, number: u64) -> Course {
    let id = call.handler;
    let role = &mut guest.roles[id.index()];
    let profile = role.profile.clone();
    let cold = match std::mem::replace(&mut role.warm, true) {
        true => Duration::ZERO,
        false => profile.cold,
    };
    let mut course = Course {
        steps: VecDeque::new(),
        result: Ok(()),
        overflowed: false,
        sends: 0,
        marks: vec![None; call.batch.len()],
        updates: false,
        met: 0,
        attributes: profile.attributes,
        memory: Memory::default(),
        held: 0,
    };
    let factor = factor(guest, profile.noise, profile.slow, profile.slow_factor);
    let scaled = |time: Duration| Duration::from_nanos((time.as_nanos() as f64 * factor) as u64);
    course.run(cold + scaled(profile.fixed));
    if guest.rng.chance(guest.machine.host_fault) {
        course.result = Err(FaultKind::Host);
        return course;
    }
    let specs = Rc::clone(&guest.specs);
    for (place, message) in inputs(&call.batch).iter().enumerate() {
        let number_of = serial(message).expect("the broker put it there") as usize;
        let script = &specs[number_of].script;
        let met = guest.met[number_of];
        let bytes = Duration::from_nanos(profile.per_byte_nanos * message.bytes() as u64);
        course.run(scaled(profile.per_message + bytes) + script.extra);
        course.met += 1;
        if profile.waits
            && let Some(wait) = script.wait
        {
            course.steps.push_back(Step::Wait(wait));
            course.run(scaled(profile.per_message));
        }
        let made = Made {
            message,
            place,
            call: number,
        };
        // As a contract has it whose answer says all at once: what is sent for a message that comes again is left out.
        let left_out = profile.attributes && script.abandons > met;
        effects(&mut course, &mut call.outbox, script, &made, left_out);
        if script.faults > met
            && let Some(kind) = script.fault
        {
            fail(&mut course, &mut call.outbox, kind, &made);
        }
        if course.verdict().is_err() {
            break;
        }
        settle(&mut course, &mut call.outbox, script, place, met);
    }
    if course.attributes {
        call.outbox.hold_for(&course.memory.rows, course.held);
    }
    course
}

/// How much longer than usual a call takes.
fn factor(guest: &mut ScriptedGuest, noise: u32, slow: u32, slow_factor: u32) -> f64 {
    let scatter = guest.rng.between(0, 2 * u64::from(noise)) as f64 / 1_000.0;
    let usual = 1.0 + scatter - f64::from(noise) / 1_000.0;
    match guest.rng.chance(slow) {
        true => usual * f64::from(slow_factor),
        false => usual,
    }
}

/// Who makes a guest send.
struct Made<'a> {
    message: &'a Message,
    /// Its place in the call.
    place: usize,
    call: u64,
}

/// What a message makes the guest hold.
fn effects(
    course: &mut Course,
    outbox: &mut Outbox,
    script: &Script,
    made: &Made<'_>,
    left_out: bool,
) {
    if script.rewinds && !course.attributes {
        let before = outbox.checkpoint();
        let lost = outbox.draft(OUT_PLAIN).payload(b"taken back", Format::Raw);
        outbox.rewind(before);
        fails_if_full(course, lost.is_err());
    }
    for subject in script.sends.iter().filter(|_| !left_out) {
        send(course, outbox, subject, made);
    }
    if script.updates {
        let extensions = vec![("call".to_owned(), made.call.to_string())];
        outbox.set_update(GuestConfiguration {
            channels: Vec::new(),
            extensions,
        });
        course.updates = true;
    }
}

fn send(course: &mut Course, outbox: &mut Outbox, subject: &str, made: &Made<'_>) {
    let origin = Origin {
        call: made.call,
        index: course.sends,
        input: made.message.id,
    };
    if course.attributes {
        return send_for(course, outbox, subject, &origin.encode(), made.place);
    }
    let mut draft = outbox.draft(subject);
    draft.header("Input", "yes").expect("a good header");
    let full = draft.payload(&origin.encode(), Format::Raw).is_err();
    course.sends += u32::from(!full);
    fails_if_full(course, full);
}

/// Holds a send as one of the message at this place.
fn send_for(course: &mut Course, outbox: &mut Outbox, subject: &str, payload: &[u8], place: usize) {
    let arena = &mut course.memory.arena;
    // Bytes that are nobody's, now and then more than the sends have.
    arena.extend(std::iter::repeat_n(b'-', [0, 0, 1, 400][place % 4]));
    let start = arena.len() as u32;
    let lens = [subject.as_bytes(), b"", b"Input: yes\r\n", payload].map(|part| {
        arena.extend_from_slice(part);
        part.len() as u32
    });
    let bound = outbox.bound();
    let held = course.held + arena.len() - start as usize;
    if course.sends as usize >= bound.messages_max || held > bound.bytes_max {
        outbox.set_overflowed();
        return fails_if_full(course, true);
    }
    let [subject, reply_to, headers, payload] = lens;
    let row = [place as u32, start, subject, reply_to, headers, payload];
    course.memory.rows.push(row);
    course.held = held;
    course.sends += 1;
}

fn fails_if_full(course: &mut Course, full: bool) {
    course.overflowed |= full;
}

/// What a poisonous message does.
fn fail(course: &mut Course, outbox: &mut Outbox, kind: FaultKind, made: &Made<'_>) {
    match kind {
        FaultKind::Deadline => course.run(ENDLESS),
        FaultKind::Outbox => {
            // It goes on as if nothing were wrong: that the call fails is the shard's to see.
            while !course.overflowed && course.sends < 2_000 {
                send(course, outbox, OUT_PLAIN, made);
            }
            return;
        }
        _ => {}
    }
    course.result = Err(kind);
}

/// What the guest says of a message.
fn settle(course: &mut Course, outbox: &mut Outbox, script: &Script, place: usize, met: u32) {
    let mark = match script {
        Script { abandons, .. } if *abandons > met => Mark::Abandoned { delay_ms: 0 },
        Script {
            completes: true, ..
        } => Mark::Completed,
        _ => return,
    };
    outbox.set_mark(place, mark);
    course.marks[place] = Some(mark);
}

/// Counts what a call met, at its end: a call that is abandoned met nothing.
pub(crate) fn count_met(guest: &mut ScriptedGuest, messages: &[Message], course: &Course) {
    let relevant = match course.verdict() {
        // Only the message that is the cause counts a failed call.
        Err(_) => course.met.saturating_sub(1)..course.met,
        Ok(()) => 0..course.met,
    };
    for message in &messages[relevant] {
        let serial = serial(message).expect("the broker put it there");
        guest.met[serial as usize] = guest.met[serial as usize].saturating_add(1);
    }
}
