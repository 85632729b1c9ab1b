#!/usr/bin/env bash
# Private Debian rustc with std for wasm32-unknown-unknown, wasm32-wasip1 and wasm32-wasip2,
# for a Debian bookworm x86_64 machine whose rustup toolchain has no wasm target.
# Nothing is installed on the system, and ~/.rustup is not touched: apt's own client downloads the
# .debs against a private lists dir, dpkg-deb -x unpacks them, and rustc runs with its own newer
# libc through a wrapper. cargo, the linkers (rust-lld, wasm-component-ld) stay the rustup ones.
#
#   usage:  guests/toolchain/rust.sh [PREFIX] [SUITE]      SUITE: trixie (stable; default) | sid
#   then:   . PREFIX/env.sh
#           cargo build --release --target wasm32-wasip2              # -> a component
#           cargo build --release --target wasm32-unknown-unknown     # -> core module, then wasm-tools component new
set -euo pipefail
PREFIX=${1:-$HOME/.cache/millpond/rust-guest}
SUITE=${2:-trixie}
mkdir -p "$PREFIX"; PREFIX=$(cd "$PREFIX" && pwd)
MIRROR=$(sed -n 's/^URIs: *\(.*\/debian\)\/* *$/\1/p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -1)
MIRROR=${MIRROR:-${DEBIAN_MIRROR:?set DEBIAN_MIRROR: no Debian mirror is configured}}
STATE=$PREFIX/.apt; R=$PREFIX/root
rm -rf "$R"; mkdir -p "$STATE"/lists/partial "$STATE"/cache "$STATE"/debs/partial "$R" "$PREFIX/bin"
: > "$STATE/status"          # an empty dpkg status: apt picks the whole closure, libc6 and libllvm included
cat > "$STATE/new.sources" <<C
Types: deb
URIs: $MIRROR
Suites: $SUITE
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
C
cat > "$STATE/apt.conf" <<C
Dir::Etc::sourcelist "$STATE/new.sources";
Dir::Etc::sourceparts "-";
Dir::State::Lists "$STATE/lists";
Dir::State::status "$STATE/status";
Dir::Cache "$STATE/cache";
Dir::Cache::archives "$STATE/debs/";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Retries "3";
APT::Keep-Downloaded-Packages "true";
APT::Sandbox::User "root";
C
export APT_CONFIG=$STATE/apt.conf
apt-get -qq update
# libstd-rust-dev is the host std: needed for build scripts and proc macros only
apt-get -qq -y --no-install-recommends --download-only install libstd-rust-dev libstd-rust-dev-wasm32
(cd "$STATE/debs" && apt-get -qq download rustc)   # without its gcc/binutils dependencies: the system's cc links host code
du -ch "$STATE"/debs/*.deb | tail -1
for d in "$STATE"/debs/*.deb; do dpkg-deb -x "$d" "$R"; done
rm -rf "$STATE/debs"/*.deb "$R/usr/share" "$STATE/lists"
LD=$(find "$R" -path '*x86_64-linux-gnu/ld-linux-x86-64.so.2' | head -1)
BIN=$(readlink -f "$R/usr/bin/rustc")
cat > "$PREFIX/bin/rustc" <<W
#!/bin/sh
exec "$LD" --library-path "$R/usr/lib/x86_64-linux-gnu:$R/lib/x86_64-linux-gnu" --argv0 "$BIN" "$BIN" "\$@"
W
chmod +x "$PREFIX/bin/rustc"
HOSTROOT=$(rustc --print sysroot)
LDBIN=$HOSTROOT/lib/rustlib/x86_64-unknown-linux-gnu/bin
cat > "$PREFIX/env.sh" <<W
export RUSTC=$PREFIX/bin/rustc
export PATH=$LDBIN:$LDBIN/gcc-ld:\$PATH                       # wasm-component-ld, rust-lld, wasm-ld
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=rust-lld
export CARGO_TARGET_WASM32_WASIP1_LINKER=rust-lld
export CARGO_TARGET_WASM32_WASIP2_LINKER=wasm-component-ld
W
"$PREFIX/bin/rustc" -V
ls "$R/usr/lib/rustlib"
du -sh "$PREFIX"
