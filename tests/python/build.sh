#!/usr/bin/env bash
# Installs what the tests use of Python, a real Electrum server among it, into an environment of its own: pinned by
# version and hash, from PyPI, touching nothing else on the machine.
#
#   tests/python/build.sh [DIRECTORY]
#
# Prints the path of its python; electrumx_server lies beside it. Half a minute the first time, milliseconds later: what is
# installed is kept in DIRECTORY under the version of Python and the checksum of what was asked for.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")"

say() { printf 'python: %s\n' "$*" >&2; }

python=${PYTHON:-python3}
command -v "$python" >/dev/null || { say "$python is missing: run .ci/setup tests"; exit 1; }
version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')
[ "$(printf '%s\n' 3.11 "$version" | sort -V | head -n1)" = 3.11 ] ||
    { say "Python $version is too old for ElectrumX, 3.11 or newer is needed: name one by PYTHON=/path/to/python3"; exit 1; }
checksum=$(cat requirements.txt build-system.txt | cksum)
root=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/exchange/python}
built=$root/$version-${checksum%% *}

# A stopped installation has no such file, and begins again.
whole=$built/.whole

build() {
    local log=$built.log
    say "installing ElectrumX and embit into $built, once (log: $log)"
    rm -rf "$built"
    # What comes as source is built by the pinned tool, not by one that is fetched for it.
    if ! {
        "$python" -m venv "$built" &&
            install -r build-system.txt &&
            install --no-build-isolation -r requirements.txt
    } >"$log" 2>&1 </dev/null; then
        tail -n 40 "$log" >&2
        say "the installation failed: the lines above end its log, $log"
        exit 1
    fi
    touch "$whole"
}
install() { "$built/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes "$@"; }

if [ ! -e "$whole" ]; then
    mkdir -p "$root"
    exec 9>"$root/lock"
    flock 9
    # Another run may have installed it while this one waited.
    [ -e "$whole" ] || build
fi
printf '%s\n' "$built/bin/python"
