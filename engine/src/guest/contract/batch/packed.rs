//! The layout of contract 3, as `wit/millpond-batch-0.1.0/batch.wit` says it: batches laid out as bytes and numbers, and answers
//! read. Whatever comes back is checked here, in full, before anything of it counts.
//!
//! Names no Wasmtime: what a handler may do it asks of [`Rights`].

use crate::message::{Message, PAYLOAD_BYTES_MAX, fault_of_headers};
use crate::outbox::{Lent, Mark, Outbox, SendRow, size};
use crate::outcome::{Fault, FaultKind};
use crate::pack::{Pack, ROW};

/// A batch as it is lowered. Its buffers are used again.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    arena: Vec<u8>,
    index: Vec<u32>,
}

impl Packed {
    /// Lays out a batch: what is to be lowered. A pack that is all of it is lowered as its publisher laid it out.
    ///
    /// # Errors
    /// The fault of a batch that is too large for the contract's numbers.
    pub(crate) fn fill<'a>(
        &'a mut self,
        packs: &'a [Pack],
        messages: &[Message],
    ) -> Result<(&'a [u8], &'a [u32]), Fault> {
        self.arena.clear();
        self.index.clear();
        if let ([pack], []) = (packs, messages) {
            return Ok((pack.arena(), self.rows_of(pack)));
        }
        self.index.reserve(messages.len() * ROW);
        for pack in packs {
            let here = self.arena.len() as u32;
            self.arena.extend_from_slice(pack.arena());
            self.add_rows(pack, here);
        }
        for message in messages {
            let start = self.arena.len() as u32;
            let [subject, reply_to, headers, payload] = message.write_parts(&mut self.arena);
            let row: [u32; ROW] = [start, subject, reply_to, headers, payload, message.attempts];
            self.index.extend_from_slice(&row);
        }
        match u32::try_from(self.arena.len()) {
            Ok(_) => Ok((&self.arena, &self.index)),
            Err(_) => Err(Fault::new(FaultKind::Host, "a batch of more than 4 GiB")),
        }
    }

    /// The index of a pack that is a call of its own: as it lies, unless it is the rest of one.
    fn rows_of<'a>(&'a mut self, pack: &'a Pack) -> &'a [u32] {
        if pack.start() == 0 {
            return pack.rows().as_flattened();
        }
        self.add_rows(pack, 0);
        &self.index
    }

    /// Adds the rows of a pack whose bytes begin `here` in the arena.
    fn add_rows(&mut self, pack: &Pack, here: u32) {
        let there = pack.start();
        for &[start, subject, reply_to, headers, payload, attempts] in pack.rows() {
            let start = start - there + here;
            self.index
                .extend_from_slice(&[start, subject, reply_to, headers, payload, attempts]);
        }
    }
}

/// What a guest gave back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer<'a> {
    pub(crate) arena: &'a [u8],
    pub(crate) index: &'a [u32],
}

impl<'a> Answer<'a> {
    /// The numbers of its outcomes, and those of its sends.
    fn split(self) -> Option<(&'a [u32], &'a [u32])> {
        let (&outcomes, rest) = self.index.split_first()?;
        rest.split_at_checked(outcomes as usize)
    }

    /// What its sends lie in; once it has been read.
    pub(crate) fn lent(self) -> Lent<'a> {
        let (_, sends) = self.split().unwrap_or_default();
        let (rows, _) = sends.as_chunks();
        Lent {
            bytes: self.arena,
            rows,
        }
    }
}

/// What the guest of a call may do.
pub(crate) trait Rights {
    /// Whether it may send to this subject, for this message of its call; the reason why not.
    fn send(&self, message: usize, subject: &str) -> Result<(), String>;
    /// Whether it may ask for a reply there.
    fn reply_to(&self, message: usize, subject: &str) -> Result<(), String>;
}

/// Reads an answer to `messages` messages into their call's outbox, which is empty. What is sent stays in the answer's arena, which is lent to
/// the outbox. An answer above the outbox's bound marks it as overflowed. After an error the outbox is to be discarded.
///
/// # Errors
/// What is wrong with it: of sends that are not too many, with the first that is wrong, and then with how much they are.
pub(crate) fn read(
    answer: Answer<'_>,
    messages: usize,
    rights: &impl Rights,
    outbox: &mut Outbox,
) -> Result<(), Fault> {
    let Some(&outcomes) = answer.index.first() else {
        return Ok(());
    };
    if outcomes != 0 && outcomes as usize != messages {
        return nonsense(format!("{outcomes} outcomes for {messages} messages"));
    }
    let Some((outcomes, sends)) = answer.split() else {
        let numbers = answer.index.len() - 1;
        return nonsense(format!("{numbers} of {outcomes} outcomes"));
    };
    for (place, &outcome) in outcomes.iter().enumerate() {
        match mark(outcome) {
            Some(mark) => mark.into_iter().for_each(|m| outbox.set_mark(place, m)),
            None => return nonsense(format!("the outcome {outcome:#x}, which is none")),
        }
    }
    let (rows, rest) = sends.as_chunks::<ROW>();
    if !rest.is_empty() {
        return nonsense(format!("a send of {} numbers; it has {ROW}", rest.len()));
    }
    if rows.len() > outbox.bound().messages_max {
        outbox.set_overflowed();
        return Ok(());
    }
    let mut places = Places::of(answer.arena.len(), messages);
    let one_subject = parts(rows, answer.arena, &mut places, rights)?;
    outbox.hold_for(rows, places.bytes);
    if one_subject {
        outbox.set_one_subject();
    }
    Ok(())
}

/// What an outcome's number says: nothing of a message that is acknowledged. `None` if it is no outcome.
fn mark(outcome: u32) -> Option<Option<Mark>> {
    match (outcome & 3, outcome >> 2) {
        (0, 0) => Some(None),
        (1, delay_ms) => Some(Some(Mark::Abandoned { delay_ms })),
        (2, 0) => Some(Some(Mark::Terminated)),
        _ => None,
    }
}

#[cold]
fn nonsense<T>(what: String) -> Result<T, Fault> {
    Err(Fault::new(
        FaultKind::Host,
        format!("the guest answered with {what}"),
    ))
}

/// Where sends may lie: each is for a message of the call, they are in these messages' order, and each lies behind the one before, within
/// so many bytes of arena.
struct Places {
    arena_bytes: usize,
    messages: usize,
    /// The message of the latest send, and where that ends.
    last: u32,
    before: usize,
    /// How many bytes all have so far.
    bytes: usize,
}

impl Places {
    fn of(arena_bytes: usize, messages: usize) -> Self {
        Self {
            arena_bytes,
            messages,
            last: 0,
            before: 0,
            bytes: 0,
        }
    }

    /// Takes the next send, of so many bytes; whether it has a place there.
    #[inline(always)]
    fn take(&mut self, &[message, start, .., payload]: &SendRow, size: usize) -> bool {
        let (start, end) = (start as usize, start as usize + size);
        let ordered = self.last <= message && self.before <= start;
        let within = (message as usize) < self.messages && end <= self.arena_bytes;
        if !(ordered && within && payload as usize <= PAYLOAD_BYTES_MAX) {
            return false;
        }
        (self.before, self.last) = (end, message);
        self.bytes += size;
        true
    }

    /// What is wrong with a send that was not taken.
    #[cold]
    fn misplaced<T>(&self, row: &SendRow) -> Result<T, Fault> {
        let &[message, start, .., payload] = row;
        let end = start as usize + size(row);
        let Self {
            arena_bytes,
            messages,
            last,
            before,
            ..
        } = *self;
        nonsense(match () {
            () if message as usize >= messages => {
                format!("a send for message {message} of {messages}")
            }
            () if message < last => {
                format!("a send for message {message} behind one for message {last}")
            }
            () if (start as usize) < before => {
                format!("a send that begins at {start}, before the one before ends, at {before}")
            }
            () if end > arena_bytes => {
                format!("a send from {start} to {end}, which is not in its {arena_bytes} bytes")
            }
            () => format!("a payload of {payload} bytes; {PAYLOAD_BYTES_MAX} may be"),
        })
    }
}

/// Sees that each send has its place, that its parts are what they have to be, and that its guest may send it; whether all have one subject.
/// Most sends of a call have the subject of the one before and neither a reply subject nor headers, or the same headers: these are looked
/// at once.
fn parts(
    rows: &[SendRow],
    arena: &[u8],
    places: &mut Places,
    rights: &impl Rights,
) -> Result<bool, Fault> {
    let (mut last_subject, mut last_headers) = (&b""[..], &b""[..]);
    let (mut subjects, mut rest) = (0, rows);
    while let Some((row, behind)) = rest.split_first() {
        if !places.take(row, size(row)) {
            return places.misplaced(row);
        }
        let &[message, start, subject, reply_to, headers, _] = row;
        let (subject, parts) = arena[start as usize..].split_at(subject as usize);
        if subject.is_empty() || subject != last_subject {
            subjects += 1;
            last_subject = subject;
            let allowed = rights.send(message as usize, text(subject)?);
            allowed.map_err(|why| Fault::new(FaultKind::Refused, why))?;
        }
        if reply_to > 0 {
            let allowed = rights.reply_to(message as usize, text(&parts[..reply_to as usize])?);
            allowed.map_err(|why| Fault::new(FaultKind::Refused, why))?;
        }
        if headers > 0 {
            let headers = &parts[reply_to as usize..][..headers as usize];
            if headers != last_headers
                && let Some(why) = fault_of_headers(headers)
            {
                return nonsense(format!("bad headers: {why}"));
            }
            last_headers = headers;
        }
        rest = &behind[plain(subject, behind, arena, places)..];
    }
    Ok(subjects == 1)
}

/// How many of these sends from the first on have their places, this subject and neither a reply subject nor headers. Subjects of a usual
/// length are compared without a call.
fn plain(subject: &[u8], rows: &[SendRow], arena: &[u8], places: &mut Places) -> usize {
    match subject.len() {
        8..=16 => plain_by(subject, rows, arena, places, ends::<8>),
        17..=32 => plain_by(subject, rows, arena, places, ends::<16>),
        _ => plain_by(subject, rows, arena, places, |bytes| bytes),
    }
}

#[inline(always)]
fn plain_by<'a, K: PartialEq>(
    subject: &'a [u8],
    rows: &[SendRow],
    arena: &'a [u8],
    places: &mut Places,
    key: impl Fn(&'a [u8]) -> K,
) -> usize {
    let (length, known) = (subject.len(), key(subject));
    let is_plain = |row: &&SendRow| {
        let &[_, start, subject, reply_to, headers, payload] = *row;
        // What has not this subject is not taken here.
        subject as usize == length
            && reply_to | headers == 0
            && arena
                .get(start as usize..)
                .and_then(|rest| rest.get(..length))
                .is_some_and(|subject| key(subject) == known)
            && places.take(row, length + payload as usize)
    };
    rows.iter().take_while(is_plain).count()
}

/// The first and the last bytes, which are all of so few.
#[inline(always)]
fn ends<const N: usize>(bytes: &[u8]) -> Option<([u8; N], [u8; N])> {
    Some((*bytes.first_chunk()?, *bytes.last_chunk()?))
}

fn text(subject: &[u8]) -> Result<&str, Fault> {
    match std::str::from_utf8(subject) {
        Ok(text) => Ok(text),
        Err(_) => nonsense("a subject that is not UTF-8".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::OutboxBound;
    use crate::subject::check_subject;
    use proptest::prelude::*;

    const BOUND: OutboxBound = OutboxBound {
        messages_max: 4,
        bytes_max: 64,
    };

    /// All good subjects but `closed`.
    struct Open;

    impl Rights for Open {
        fn send(&self, _: usize, subject: &str) -> Result<(), String> {
            check_subject(subject).map_err(|error| error.to_string())?;
            match subject {
                "closed" => Err("not granted".into()),
                _ => Ok(()),
            }
        }

        fn reply_to(&self, message: usize, subject: &str) -> Result<(), String> {
            self.send(message, subject)
        }
    }

    #[test]
    fn sends_with_one_subject_are_known_to_have_one_and_others_not() {
        for (arena, lens, same) in [
            (&b"aaaa"[..], [1, 1, 1, 1], 4),
            (b"aabb", [1, 1, 1, 1], 2),
            (b"aaab", [1, 1, 1, 1], 3),
            (b"aaa", [1, 2, 0, 0], 1),
        ] {
            let mut outbox = Outbox::new(BOUND);
            outbox.open(BOUND);
            let mut index = vec![0];
            let mut start = 0;
            for len in lens.into_iter().filter(|len| *len > 0) {
                index.extend([0, start, len, 0, 0, 0]);
                start += len;
            }
            let arena_and_index = Answer {
                arena,
                index: &index,
            };
            read(arena_and_index, 1, &Open, &mut outbox).unwrap();
            assert_eq!(outbox.release(arena_and_index.lent()).same(), same);
        }
    }

    /// One subject alone.
    struct Only<'a>(&'a str);

    impl Rights for Only<'_> {
        fn send(&self, _: usize, subject: &str) -> Result<(), String> {
            (subject == self.0)
                .then_some(())
                .ok_or_else(|| "not granted".into())
        }

        fn reply_to(&self, message: usize, subject: &str) -> Result<(), String> {
            self.send(message, subject)
        }
    }

    /// Subjects are compared by their ends, where these are all of them.
    #[test]
    fn a_subject_is_told_from_each_that_differs_in_one_byte() {
        for length in [1, 2, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 64] {
            let granted = "s".repeat(length);
            let sends = |second: &str| {
                let arena = [&granted, second, &granted].concat();
                let row = |place: usize| [0, place * length, length, 0, 0, 0];
                let rows = [row(0), row(1), row(2)].concat();
                let index: Vec<_> = rows.into_iter().map(|number| number as u32).collect();
                let answer = Answer {
                    arena: arena.as_bytes(),
                    index: &[&[0], &index[..]].concat(),
                };
                let mut outbox = Outbox::new(OutboxBound {
                    messages_max: 3,
                    bytes_max: 1_000,
                });
                let read = read(answer, 1, &Only(&granted), &mut outbox);
                read.map(|()| outbox.release(answer.lent()).same())
            };
            assert_eq!(sends(&granted), Ok(3));
            for place in 0..length {
                let mut other = granted.clone();
                other.replace_range(place..=place, "x");
                let fault = sends(&other).unwrap_err();
                assert_eq!(fault.kind, FaultKind::Refused, "{other}");
            }
        }
    }

    /// Reads an answer to `messages` messages; what is released then, by input.
    fn released(
        arena: &[u8],
        index: &[u32],
        messages: usize,
    ) -> Result<Vec<(u32, Message)>, Fault> {
        let mut outbox = Outbox::new(BOUND);
        outbox.open(BOUND);
        let answer = Answer { arena, index };
        read(answer, messages, &Open, &mut outbox)?;
        if outbox.overflowed().is_some() {
            return Err(Fault::new(FaultKind::Outbox, "full"));
        }
        let runs = outbox.held(answer.lent()).runs();
        let mut got = Vec::new();
        for message in outbox.release(answer.lent()) {
            let run = runs.iter().find(|run| run.until as usize > got.len());
            got.push((run.expect("each is for an input").input, message));
        }
        Ok(got)
    }

    #[test]
    fn a_batch_is_laid_out_and_read_again() {
        let mut packed = Packed::default();
        for _ in 0..2 {
            let mut first = Message::builder("a.b")
                .reply_to("r")
                .header("k", "v")
                .payload(b"data")
                .unwrap();
            first.attempts = 3;
            let second = Message::new("c", b"").unwrap();
            let (arena, index) = packed.fill(&[], &[first, second]).unwrap();
            assert_eq!(arena, b"a.brk: v\r\ndatac");
            assert_eq!(index, [0, 3, 1, 6, 4, 3, 14, 1, 0, 0, 0, 0]);
        }
    }

    #[test]
    fn packs_are_laid_out_as_their_messages_are() {
        use std::slice::from_ref;
        let mut builder = Pack::builder("a.b").unwrap();
        for payload in [&b"one"[..], b"", b"three", b"four"] {
            builder.push(&[("k", "v")], payload).unwrap();
        }
        let whole = builder.build();
        let mut rest = whole.clone();
        let first = rest.split_to(1);
        let middle = rest.split_to(2);
        let cases: [&[Pack]; 5] = [
            from_ref(&whole),
            from_ref(&middle),
            from_ref(&rest),
            &[rest.clone(), first, whole.clone()],
            &[middle.clone(), middle.clone()],
        ];
        for packs in cases {
            let messages: Vec<_> = packs.iter().flat_map(Pack::messages).collect();
            let (mut one, mut other) = (Packed::default(), Packed::default());
            let laid_out = one.fill(packs, &[]).unwrap();
            assert_eq!(laid_out, other.fill(&[], &messages).unwrap());
        }
    }

    #[test]
    fn sends_are_cut_from_the_arena_for_their_inputs() {
        let arena = b"--ark: v\r\ndata-ab";
        let index = [0, 0, 2, 1, 1, 6, 4, 2, 15, 1, 0, 0, 1];
        let got = released(arena, &index, 3).unwrap();
        let (input, m) = &got[0];
        assert_eq!(
            (*input, m.subject(), m.reply_to(), m.payload()),
            (0, "a", Some("r"), &b"data"[..])
        );
        assert_eq!(m.headers().collect::<Vec<_>>(), [("k", "v")]);
        let (input, m) = &got[1];
        assert_eq!(
            (*input, m.subject(), m.reply_to(), m.payload()),
            (2, "a", None, &b"b"[..])
        );
    }

    #[test]
    fn what_is_sent_for_a_message_that_comes_again_is_left_out() {
        let index = [
            3, 5, 0, 2, 0, 0, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 2, 2, 1, 0, 0, 0,
        ];
        let got = released(b"abc", &index, 3).unwrap();
        let inputs: Vec<_> = got.iter().map(|(input, m)| (*input, m.subject())).collect();
        assert_eq!(inputs, [(1, "b"), (2, "c")]);
    }

    #[test]
    fn what_a_handler_may_not_do_is_refused_wherever_it_stands() {
        for index in [
            [0, 0, 0, 6, 0, 0, 0, 0, 6, 1, 0, 0, 0],
            [0, 0, 6, 1, 0, 0, 0, 0, 7, 6, 0, 0, 0],
            [0, 0, 6, 1, 6, 0, 0, 0, 13, 1, 0, 0, 0],
        ] {
            let fault = released(b"closedaclosedb", &index, 1).unwrap_err();
            assert_eq!(
                (fault.kind, &*fault.detail),
                (FaultKind::Refused, "not granted")
            );
        }
    }

    /// Numbers that are likely to mean something.
    fn number() -> impl Strategy<Value = u32> {
        prop_oneof![0u32..4, 0u32..40, any::<u32>(), (u32::MAX - 8)..]
    }

    /// An arena that is likely to have good parts, and numbers: any, or rows of which most lie one behind the other.
    fn answer() -> impl Strategy<Value = (Vec<u8>, Vec<u32>)> {
        let arena = prop::collection::vec(
            prop_oneof![
                Just(b'a'),
                Just(b'.'),
                Just(b':'),
                Just(b'\r'),
                Just(b'\n'),
                any::<u8>()
            ],
            0..80,
        );
        let any = prop::collection::vec(number(), 0..40);
        let row = (
            0u32..3,
            0u32..3,
            0u32..6,
            prop_oneof![Just(0u32), 0u32..4],
            prop_oneof![Just(0u32), 0u32..6],
            0u32..8,
        );
        let rows = prop::collection::vec(row, 0..6).prop_map(|rows| {
            let (mut index, mut at, mut message) = (vec![0], 0, 0);
            for (step, gap, subject, reply_to, headers, payload) in rows {
                message += step / 2;
                index.extend([message, at + gap, subject, reply_to, headers, payload]);
                at += gap + subject + reply_to + headers + payload;
            }
            index
        });
        (arena, prop_oneof![any, rows])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        #[test]
        fn any_answer_is_read_or_refused_within_bounds((arena, index) in answer(), messages in 1usize..4) {
            let Ok(got) = released(&arena, &index, messages) else { return Ok(()); };
            prop_assert!(got.len() <= BOUND.messages_max);
            prop_assert!(got.is_sorted_by_key(|(input, _)| *input));
            let bytes: usize = got.iter().map(|(_, m)| m.bytes()).sum();
            prop_assert!(bytes <= arena.len() && bytes <= BOUND.bytes_max);
            let shared = got.iter().any(|(_, m)| m.pinned() > m.bytes());
            let pinned = got.iter().map(|(_, m)| m.pinned());
            let kept = if shared { pinned.max() } else { Some(pinned.sum()) };
            prop_assert!(kept.unwrap_or(0) <= BOUND.bytes_max);
            for (input, m) in &got {
                prop_assert!((*input as usize) < messages);
                prop_assert!(check_subject(m.subject()).is_ok() && m.subject() != "closed");
                prop_assert!(m.reply_to().is_none_or(|r| check_subject(r).is_ok() && r != "closed"));
                prop_assert_eq!(fault_of_headers(m.raw_headers()), None);
            }
        }

        #[test]
        fn what_is_laid_out_can_be_sent_back_as_it_is(payloads in prop::collection::vec((0usize..9, any::<bool>()), 1..4)) {
            let message = |(len, asks): &(usize, bool)| {
                let builder = Message::builder("s");
                let builder = if *asks { builder.reply_to("r") } else { builder };
                builder.header("k", "v").payload(&vec![b'x'; *len]).unwrap()
            };
            let batch: Vec<_> = payloads.iter().map(message).collect();
            let mut packed = Packed::default();
            let (arena, rows) = packed.fill(&[], &batch).unwrap();
            let mut index = vec![0];
            for (place, row) in rows.chunks(ROW).enumerate() {
                index.push(place as u32);
                index.extend_from_slice(&row[..5]);
            }
            let got = released(arena, &index, batch.len()).unwrap();
            prop_assert_eq!(got.len(), batch.len());
            for ((_, m), of) in got.iter().zip(&batch) {
                prop_assert_eq!((m.subject(), m.reply_to(), m.payload()), (of.subject(), of.reply_to(), of.payload()));
                prop_assert_eq!(m.raw_headers(), of.raw_headers());
            }
        }
    }
}
