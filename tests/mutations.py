#!/usr/bin/env python3
"""Shows that tests fail when what they guard is taken out: each mutation is made in a copy of the sources, and its test must fail.

usage: python3 tests/mutations.py [NAME...]      all of them without a name; on two cores half a minute each, and some minutes to build at first
       python3 tests/mutations.py --check        builds nothing: sees that each still fits the sources, and that its test is there
exit status: 0 if every mutation was found by its test, 1 if one was not, 2 if one no longer fits the sources
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Name, what it is, file, the text that is replaced (once), what replaces it, the test that must fail.
MUTATIONS = [
    (
        "reset-off",
        "the reset is left out: a used instance is called again, in the memory that its last call left",
        "engine/src/guest/pond.rs",
        "self.used.push(used);",
        "self.ready[0].push(used); self.counted(1);",
        "isolation::a_guest_that_scribbles_is_never_seen_by_another_call",
    ),
    (
        "reset-off-compiled",
        "the same, seen by a compiled guest",
        "engine/src/guest/pond.rs",
        "self.used.push(used);",
        "self.ready[0].push(used); self.counted(1);",
        "isolation::a_compiled_guest_that_scribbles_is_never_seen_by_another_call",
    ),
    (
        "slice-ignored",
        "a call on the shard's stack may run for 40 s beyond its slice",
        "engine/src/guest/call.rs",
        "store.set_epoch_deadline(kind.bounds.call);",
        "store.set_epoch_deadline(kind.bounds.call + 40_000);",
        "hostile::a_call_that_never_ends_is_ended_at_its_deadline",
    ),
    (
        "deadline-ignored-on-a-fiber",
        "a call on a fiber has no deadline",
        "engine/src/guest/deadline.rs",
        "fn late(&self, now: Instant) -> Option<Fault> {",
        "fn late(&self, now: Instant) -> Option<Fault> {\n        if true { return None; }",
        "limits::deadlines_of_a_call_that_runs_and_of_one_that_waits",
    ),
    (
        "release-on-fault",
        "what a failed call held is released",
        "engine/src/settle.rs",
        "Err(fault) => self.failed(id, exclusive(&mut batch), &fault, at),",
        "Err(fault) => {\n"
        "                outbox.release(used.as_ref()).for_each(|m| drop(self.transport.send(id, m, SendId { release: 0, index: 0 }, at)));\n"
        "                self.failed(id, exclusive(&mut batch), &fault, at)\n"
        "            }",
        "contract::a_failed_call_leaves_no_effect",
    ),
    (
        "settled-twice",
        "a handled message is called once more",
        "engine/src/settle.rs",
        "None | Some(Mark::Completed) => self.finish(id, message, Outcome::Ack, at),",
        "None | Some(Mark::Completed) => { self.handlers[id.index()].batcher.push(message.clone()); self.finish(id, message, Outcome::Ack, at) }",
        "volume::a_million_messages_in_a_million_settled_once",
    ),
    (
        "room-not-returned",
        "the room of settled messages is not returned",
        "engine/src/broker/memory/transport.rs",
        "self.broker.settled(self.shard, id, load);",
        "let _ = (id, load);",
        "api::a_draining_engine_takes_nothing_and_finishes_what_it_has",
    ),
    (
        "poison-not-alone",
        "a failed batch is called together again",
        "engine/src/split.rs",
        "batch.split_off(batch.len() / 2);",
        "batch.split_off(0);",
        "faults::a_poison_message_does_not_harm_its_batch",
    ),
    (
        "grant-ignored",
        "a guest may send to any subject",
        "engine/src/guest/host.rs",
        "if !granted && !call.is_reply(subject)",
        "if false && !granted && !call.is_reply(subject)",
        "contract::what_is_not_granted_is_an_error_with_a_reason",
    ),
    (
        "sends-of-the-first",
        "contract 3: all sends of a call count as sent for its first message",
        "engine/src/outbox.rs",
        "Some(run) if run.input == input => run.until = until,",
        "Some(run) => run.until = until,",
        "nats_batch::a_send_that_a_stream_refuses_is_the_fault_of_its_message_alone",
    ),
    (
        "sends-overlap",
        "contract 3: a send may begin before the one before it ends",
        "engine/src/guest/contract/batch/packed.rs",
        "let ordered = self.last <= message && self.before <= start;",
        "let ordered = self.last <= message;",
        "batch::nonsense_is_a_fault_of_its_call_with_one_reason",
    ),
    (
        "sends-outside",
        "contract 3: a send may end behind the bytes that the guest gave back",
        "engine/src/guest/contract/batch/packed.rs",
        "(message as usize) < self.messages && end <= self.arena_bytes;",
        "(message as usize) < self.messages;",
        "batch::nonsense_is_a_fault_of_its_call_with_one_reason",
    ),
]


def check():
    """Ends with a line for each mutation that no longer fits, or whose test is gone, if there is one."""
    misfits = []
    for name, _, file, old, _, guard in MUTATIONS:
        module, function = guard.split("::")
        if (ROOT / file).read_text().count(old) != 1:
            misfits.append(f"{name} does not fit {file} any more; mend it in {__file__}")
        if f"fn {function}()" not in (ROOT / "tests" / f"{module}.rs").read_text():
            misfits.append(f"{name} names the test {guard}, which is not there; mend it in {__file__}")
    if misfits:
        print("\n".join(misfits))
        sys.exit(2)


def copy_sources(to):
    """Copies what git tracks, and what it would track; as new, so that cargo takes nothing for built that another copy left."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        source = ROOT / name
        if source.is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, to / name)


def test(folder, name):
    """Runs one test: whether it passed, and the last lines of its output."""
    # A folder of its own: in a shared one, cargo would take what was built from a mutated copy for the sources' own.
    target = str(pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "mutations")
    command = ["cargo", "test", "--workspace", "--test", "integration", "--", "--exact", name]
    environment = dict(os.environ, CARGO_TARGET_DIR=target, RUST_BACKTRACE="0")
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    output = run.stdout + run.stderr
    if "running 1 test" not in output:
        sys.exit(f"{name} did not run:\n{output[-3000:]}")
    return run.returncode == 0, output


def complaint(output):
    """The line that says why a test failed."""
    lines = output.splitlines()
    at = next((i for i, line in enumerate(lines) if "panicked at" in line), None)
    return lines[at + 1].strip() if at is not None else lines[-1]


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
    missed = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        copy_sources(folder)
        for name, what, file, old, new, guard in MUTATIONS:
            if wanted and name not in wanted:
                continue
            path = folder / file
            sound = path.read_text()
            path.write_text(sound.replace(old, new))
            passed, output = test(folder, guard)
            path.write_text(sound)
            missed += passed
            verdict = "NOT FOUND" if passed else f"found: {complaint(output)}"
            print(f"{name} ({what})\n  by {guard}\n  {verdict}", flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
