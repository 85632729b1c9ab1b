#!/usr/bin/env python3
"""Shows that the simulator finds what it is there for: each mutation is made in a copy of the sources, and a run must find it.

usage: python3 tests/sim/mutations.py [NAME...]    all of them without a name; some ten seconds each on two cores
       python3 tests/sim/mutations.py --check      builds nothing: sees that each still fits the sources
The copy is built under $MILLPOND_TARGET/sim-mutations, or under the system's folder for temporary files.
exit status: 0 if every mutation was found, 1 if one was not, 2 if one no longer fits the sources
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SEEDS = 10_000
# Longest that a run may take, in seconds: a mutated loop may not end, which is found too.
TIME_MAX = 300

# Name, what it is, file, the text that is replaced (once), what replaces it.
MUTATIONS = [
    (
        "ack-before-outcome",
        "the message of a failed call is acked",
        "settle.rs",
        ".for_each(|m| self.attempt(id, m, fault.clone(), at)),",
        ".for_each(|m| self.finish(id, m, Outcome::Ack, at)),",
    ),
    (
        "ack-before-confirmation",
        "inputs are acked while their sends are not confirmed",
        "settle.rs",
        "let done = pending.is_empty() && refused.is_empty();",
        "let done = refused.is_empty();",
    ),
    (
        "refusal-of-another",
        "the refused send of one input is the fault of all, though it is known whose it is",
        "settle.rs",
        "match shares.why(place) {",
        "match shares.first() {",
    ),
    (
        "refusal-unattributed",
        "an input whose own send is refused is called again as if it were unknown whose that is",
        "settle.rs",
        "let known = inputs.len() == 1 || shares.are_known();",
        "let known = inputs.len() == 1;",
    ),
    (
        "drop-on-disconnect",
        "inputs whose sends were lost with a connection are acked",
        "settle.rs",
        "self.again(id, message, times, at);",
        "let _ = times;\n                    self.finish(id, message, Outcome::Ack, at);",
    ),
    (
        "split-part-skipped",
        "the second half of a split batch is forgotten",
        "split.rs",
        "self.waiting.push(second);",
        "drop(second);",
    ),
    (
        "split-unbounded",
        "calls of a split batch are not counted",
        "split.rs",
        "bound.calls_left -= 2;",
        "",
    ),
    (
        "released-on-a-trap",
        "what a failed call sent is released",
        "settle.rs",
        "Err(fault) => self.failed(id, exclusive(&mut batch), &fault, at),",
        "Err(fault) => {\n"
        "                let release = self.releases.next_id();\n"
        "                outbox.release(used.as_ref()).for_each(|m| drop(self.transport.send(id, m, SendId { release, index: 0 }, at)));\n"
        "                self.failed(id, exclusive(&mut batch), &fault, at)\n"
        "            }",
    ),
    (
        "overflow-ignored",
        "a call that sent more than it may counts as handled",
        "settle.rs",
        "let result = overflow.map_or(result, Err);",
        "drop(overflow);",
    ),
    (
        "permit-kept-on-shed",
        "the room of a message that is shed is not returned",
        "settle.rs",
        "self.transport.settle(id, message, outcome, at);",
        "if !matches!(outcome, Outcome::Shed(_)) { self.transport.settle(id, message, outcome, at); }",
    ),
    (
        "permit-kept-on-term",
        "the room of a message that is given up on is not returned",
        "settle.rs",
        "self.transport.settle(id, message, outcome, at);",
        "if !matches!(outcome, Outcome::Term(_)) { self.transport.settle(id, message, outcome, at); }",
    ),
    (
        "all-shed",
        "messages are shed whose source may not be shed",
        "shard.rs",
        "if handler.droppable {",
        "if true {",
    ),
    (
        "letter-refused",
        "a message is terminated although its dead letter was refused",
        "settle.rs",
        "let Some(why) = unsent else {",
        "let Some(why) = unsent.filter(|_| false) else {",
    ),
    (
        "letter-forgotten",
        "a dead letter that was refused is not sent again",
        "settle.rs",
        "self.letters.wait(at + delay, id, dead);",
        "drop((at + delay, id, dead));",
    ),
    (
        "attempt-not-counted",
        "a failed call is no attempt",
        "settle.rs",
        "message.attempts = message.attempts.saturating_add(1);\n        message.alone = true;",
        "message.alone = true;",
    ),
    (
        "order-not-held",
        "later messages do not wait behind one that is called again",
        "order.rs",
        "line.is_some_and(|line| line.retried.first() != Some(&message.id))",
        "line.is_some_and(|line| line.retried.first() != Some(&message.id)) && false",
    ),
    (
        "order-of-alone",
        "messages that must be alone wait in the order of their failing",
        "batch.rs",
        "                insert(&mut self.alone, message);",
        "                self.alone.push_back(message);",
    ),
    (
        "parts-first",
        "where order is kept, parts of a failed batch go before what was before them",
        "batch.rs",
        "if !alone_first && self.parts.next",
        "if self.parts.next",
    ),
    (
        "report-twice",
        "a report that comes twice counts twice",
        "confirm.rs",
        ".filter(|word| **word & bit != 0)",
        "",
    ),
    (
        "overdue-forgotten",
        "a release that waited too long is forgotten",
        "confirm.rs",
        "return Some(release);",
        "drop(release);",
    ),
    (
        "not-queued-again",
        "a handler is not called again when its sends are confirmed",
        "settle.rs",
        "self.queue(id, at);\n    }\n\n    /// All confirmed",
        "}\n\n    /// All confirmed",
    ),
    (
        "unconfirmed-unbounded",
        "a handler is called however many of its batches are unconfirmed",
        "handler.rs",
        "|| self.unconfirmed >= self.unconfirmed_max",
        "",
    ),
    (
        "limits-unnoticed",
        "a handler that new limits allow to be called is not",
        "shard.rs",
        "queued.push(id);",
        "let _ = &queued;",
    ),
    (
        "pause-without-end",
        "a penalty never ends",
        "penalty.rs",
        "self.until.filter(|until| now < *until)",
        "self.until.filter(|until| now < *until || true)",
    ),
    (
        "pause-ignored",
        "a paused handler is called",
        "handler.rs",
        ".until(now)\n                .map_or(ready, |until| until.max(ready)),",
        ".until(now)\n                .map_or(ready, |until| until.min(ready)),",
    ),
    (
        "buffers-kept",
        "what waits is not copied out of its read buffer",
        "batch.rs",
        "old.for_each(Message::detach);",
        "old.for_each(drop);",
    ),
    (
        "buffers-kept-on-a-fiber",
        "what is called on a fiber is not copied out of its read buffer",
        "shard.rs",
        "exclusive(&mut call.batch).detach();",
        "",
    ),
    (
        "overrun-kept",
        "what an abandoned call sent is released with the next",
        "shard.rs",
        "call.outbox.discard();\n        call.way = Way::Fiber;",
        "call.way = Way::Fiber;",
    ),
    (
        "put-back-loses",
        "a batch that finds no slot loses its first message",
        "batch.rs",
        ".for_each(|m| self.fresh.push_front(m));\n            }",
        ".skip(1).for_each(|m| self.fresh.push_front(m));\n            }",
    ),
    (
        "put-back-twice",
        "a batch that finds no slot goes behind all others",
        "batch.rs",
        ".for_each(|m| self.fresh.push_front(m));\n            }",
        ".for_each(|m| self.fresh.push_back(m));\n            }",
    ),
    (
        "suspended-starves",
        "calls that could go on wait as long as there are new ones",
        "schedule.rs",
        "is_some_and(|r| !r.stuck || called(e.id));",
        "is_some_and(|_| false);",
    ),
    (
        "slot-not-asked-again",
        "a shard that found no slot rests until something else comes",
        "shard.rs",
        ".then(|| now + SLOT_RETRY);",
        ".then(|| now + SLOT_RETRY).filter(|_| false);",
    ),
    (
        "letter-not-due",
        "a shard rests although a dead letter is to be sent again",
        "shard.rs",
        "            self.letters.due(),\n",
        "",
    ),
    (
        "pack-put-back-loses",
        "packs that find no slot lose the last of them",
        "batch.rs",
        "for pack in batch.packs.drain(..).rev() {",
        "for pack in batch.packs.drain(..).rev().skip(1) {",
    ),
    (
        "pack-put-back-last",
        "packs that find no slot go behind all others",
        "batch.rs",
        "self.packs.push_front(pack);",
        "self.packs.push_back(pack);",
    ),
    (
        "packs-first",
        "packs are called before messages that are older",
        "batch.rs",
        "other.is_none_or(|other| packed <= other).then_some(packed)",
        "{ let _ = other; Some(packed) }",
    ),
    (
        "packs-last",
        "packs are called when there are no other messages",
        "batch.rs",
        "other.is_none_or(|other| packed <= other).then_some(packed)",
        "other.is_none().then_some(packed)",
    ),
    (
        "linger-behind-others",
        "messages that fill a call wait for a pack that lingers, and packs for messages",
        "batch.rs",
        "let full = self.fresh.len().max(self.packed) >=",
        "let full = waiting >=",
    ),
    (
        "pack-above-bytes",
        "each pack of a call may have all bytes that the call may have",
        "batch.rs",
        "bytes_max.saturating_sub(bytes));",
        "bytes_max);",
    ),
    (
        "pack-shed-in-part",
        "of a pack that is shed the last message is forgotten",
        "batch.rs",
        "pack.messages().for_each(&mut shed);",
        "pack.messages().take(pack.len().max(2) - 1).for_each(&mut shed);",
    ),
    (
        "packed-kept-on-shed",
        "messages of a pack that is shed count as waiting",
        "batch.rs",
        "            self.packed -= pack.len();\n",
        "",
    ),
    (
        "pack-buffers-kept-on-a-fiber",
        "a pack that is called on a fiber is not copied out of the buffer of another, larger one",
        "batch.rs",
        "self.packs.iter_mut().for_each(Pack::detach);",
        "",
    ),
    (
        "pack-copied-askew",
        "the messages of a pack that was copied lie where they lay before",
        "pack.rs",
        "[row[0] - start, row[1],",
        "[row[0], row[1],",
    ),
    (
        "pack-ids-again",
        "the rest of a pack has the ids of what was called of it",
        "pack.rs",
        "        self.first_id += count as u64;\n",
        "",
    ),
    (
        "pack-marks-ignored",
        "a pack is acked whatever its guest says of its messages",
        "settle.rs",
        "if done && !outbox.has_marks() {",
        "if done {",
    ),
    (
        "pack-ack-before-confirmation",
        "a pack is acked while its sends are not confirmed",
        "settle.rs",
        "if done && !outbox.has_marks() {",
        "if !outbox.has_marks() {",
    ),
    (
        "pack-settled-apart",
        "of packs of which all is handled each message is settled by itself",
        "settle.rs",
        "if done && !outbox.has_marks() {",
        "if done && !outbox.has_marks() && batch.packs.len() > 1 {",
    ),
    (
        "pack-acked-as-one",
        "a pack that is handled counts as one message",
        "settle.rs",
        "acked_many(id, pack.len() as u64, latency);",
        "acked_many(id, 1, latency);",
    ),
    (
        "pack-fails-whole",
        "the messages of packs in a call that failed are not treated apart",
        "settle.rs",
        "batch.unpack();\n        let messages = &mut batch.messages;\n        self.metrics.faulted",
        "let messages = &mut batch.messages;\n        self.metrics.faulted",
    ),
    (
        "pack-received-as-one",
        "a pack that comes counts as one message",
        "shard.rs",
        "received.add(pack.len() as u64);",
        "received.add(1);",
    ),
    (
        "pack-for-all",
        "packs go into the calls of handlers that take messages one by one",
        "handler.rs",
        "match self.packs {",
        "match self.packs || true {",
    ),
]


def copy_sources(to):
    """Copies what the simulator is built of; its workspace has no other member."""
    ignore = shutil.ignore_patterns("guest", "broker", "__pycache__")
    shutil.copytree(ROOT / "engine/src", to / "engine/src", ignore=ignore)
    shutil.copytree(ROOT / "tests/sim", to / "tests/sim", ignore=ignore_nothing_but_caches)
    shutil.copy(ROOT / "Cargo.lock", to / "Cargo.lock")
    manifest = (ROOT / "Cargo.toml").read_text()
    manifest = re.sub(r"(?m)^members = .*$", 'members = ["tests/sim"]', manifest)
    manifest = re.sub(r"(?m)^(default-members|exclude|millpond) = .*$", "", manifest)
    (to / "Cargo.toml").write_text(manifest)


def ignore_nothing_but_caches(_, names):
    return [name for name in names if name == "__pycache__"]


def run(folder, target):
    """Builds the copy and runs it: the seeds that it took to find something (None if it found nothing), and what it said."""
    environment = dict(os.environ, CARGO_TARGET_DIR=str(target), RUST_BACKTRACE="0")
    build = ["cargo", "build", "--offline", "-q", "-p", "millpond-sim"]
    built = subprocess.run(build, cwd=folder, env=environment, capture_output=True, text=True)
    if built.returncode != 0:
        sys.exit(f"does not build:\n{built.stderr[-3000:]}")
    command = [str(target / "debug/millpond-sim"), "run", "--seeds", str(SEEDS)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_MAX)
    except subprocess.TimeoutExpired:
        return "?", f"it does not end within {TIME_MAX} s"
    if done.returncode == 0:
        return None, ""
    said = re.search(r"seed (\d+): (.*)", done.stdout)
    if not said:
        sys.exit(f"the simulator failed and said no seed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return int(said[1]) + 1, said[2]


def check():
    """Ends with a line for each mutation that no longer fits, if one doesn't."""
    misfits = [m for m in MUTATIONS if (ROOT / "engine/src" / m[2]).read_text().count(m[3]) != 1]
    for name, _, file, *_ in misfits:
        print(f"{name} does not fit {file} any more; mend it in {__file__}")
    if misfits:
        sys.exit(2)


def main():
    wanted = sys.argv[1:]
    if "--help" in wanted or "-h" in wanted:
        sys.exit(print(__doc__) or 0)
    check()
    if "--check" in wanted:
        return
    unknown = set(wanted) - {m[0] for m in MUTATIONS}
    if unknown:
        sys.exit(f"no mutation is named {', '.join(sorted(unknown))}; there are {', '.join(m[0] for m in MUTATIONS)}")
    target = pathlib.Path(os.environ.get("MILLPOND_TARGET", tempfile.gettempdir())) / "sim-mutations"
    missed = 0
    print(f"{'mutation':<26} {'seeds':>6}  what, and how it was found", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        copy_sources(folder)
        for name, what, file, old, new in MUTATIONS:
            if wanted and name not in wanted:
                continue
            path = folder / "engine/src" / file
            sound = path.read_text()
            path.write_text(sound.replace(old, new))
            seeds, why = run(folder, target)
            path.write_text(sound)
            missed += seeds is None
            print(f"{name:<26} {seeds or 'NOT FOUND':>6}  {what}\n{'':<34} {why}", flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
