#!/usr/bin/env bash
# Builds a real bitcoind, and bitcoin-cli, from the Bitcoin Core source that the crate libbitcoinkernel-sys vendors, so
# that the tests need no download of their own and run the very source whose script engine the node embeds.
#
#   tests/bitcoind/build.sh [DIRECTORY]
#
# Prints the path of bitcoind; bitcoin-cli lies beside it. About ten minutes on two cores the first time, milliseconds
# later: what is built is kept in DIRECTORY under the version of the crate and the flags.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/../.."

crate=libbitcoinkernel-sys
flags=(
    -DCMAKE_BUILD_TYPE=Release
    -DBUILD_DAEMON=ON
    -DBUILD_CLI=ON
    -DBUILD_BENCH=OFF
    -DBUILD_BITCOIN_BIN=OFF
    -DBUILD_TESTS=OFF
    -DBUILD_TX=OFF
    -DBUILD_UTIL=OFF
    -DENABLE_EXTERNAL_SIGNER=OFF
    -DENABLE_IPC=OFF
    -DENABLE_WALLET=OFF # the crate leaves its source out
    -DINSTALL_MAN=OFF
    -DWITH_EMBEDDED_ASMAP=OFF
    -DWITH_ZMQ=OFF
)

say() { printf 'bitcoind: %s\n' "$*" >&2; }

version=$(sed -n "/^name = \"$crate\"\$/{n;s/^version = \"\\(.*\\)\"\$/\\1/p}" Cargo.lock)
[ -n "$version" ] || { say "Cargo.lock names no $crate: check out the whole repository"; exit 1; }
checksum=$(printf '%s\n' "${flags[@]}" | cksum)
root=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/exchange/bitcoind}
built=$root/$version-${checksum%% *}

build() {
    local core work=$built.build log=$built.log
    core=$(vendored_source)
    say "building $version into $built, once, about ten minutes on two cores (log: $log)"
    # What a stopped build has compiled is still good: cmake and ninja go on from there.
    if ! { cmake -S "$core" -B "$work" -G Ninja "${flags[@]}" && nice ninja -C "$work" bitcoind bitcoin-cli; } >"$log" 2>&1 </dev/null; then
        tail -n 40 "$log" >&2
        say "the build failed: the lines above end its log, $log"
        exit 1
    fi
    rm -rf "$built.new"
    install -D -t "$built.new/bin" "$work/bin/bitcoind" "$work/bin/bitcoin-cli"
    mv "$built.new" "$built"
    rm -rf "$work"
    say "built in $((SECONDS / 60)) min $((SECONDS % 60)) s"
}

# Prints where cargo keeps the source, after fetching it if need be.
vendored_source() {
    local manifest
    manifest=$(cargo metadata --format-version 1 --locked --filter-platform "$(rustc --print host-tuple)" |
        grep -o "\"manifest_path\":\"[^\"]*/${crate}[^\"/]*/Cargo.toml\"" | cut -d'"' -f4)
    printf '%s\n' "${manifest%/Cargo.toml}/bitcoin"
}

if [ ! -x "$built/bin/bitcoind" ]; then
    mkdir -p "$root"
    exec 9>"$root/lock"
    flock 9
    # Another run may have built it while this one waited.
    [ -x "$built/bin/bitcoind" ] || build
fi
printf '%s\n' "$built/bin/bitcoind"
