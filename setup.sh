#!/bin/sh
# Sets up this checkout, and only that: Debian packages (apt-get), then a virtual environment in .venv from the hashed lock.
# usage: ./setup.sh demo|dev       A second run finds everything there and takes no time.
set -eu
cd "$(dirname "$0")"
what=${1:-demo}

# pyscard has no wheel for Linux: it is compiled against PC/SC's library. libosdp is compiled too, because its wheels wait
# 50 ms between two polls, which is most of what a pupil waits for (docs/decisions/0034-polls.md).
compiling="gcc libpcsclite-dev pkg-config python3-dev swig"
case $what in
demo) packages="mosquitto python3-venv tzdata $compiling" lock=requirements.lock ;;
dev)
    packages="mosquitto python3-venv tzdata $compiling chromium fonts-dejavu-core postgresql systemd udev"
    packages="$packages pcscd vsmartcard-vpcd iproute2 nftables"
    # A software TPM, and the library that tpm2-pytss is compiled against.
    packages="$packages swtpm tpm2-tools libtss2-dev" lock=requirements-dev.lock ;;
*) echo "usage: ./setup.sh demo|dev" >&2; exit 2 ;;
esac

fail() { printf '\nsetup: %s\n' "$*" >&2; exit 1; }
say() { printf '%s\n' "-- $*" >&2; }

# Debian packages

missing=
if command -v dpkg-query >/dev/null 2>&1; then
    for package in $packages; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
else
    say "Pas un système Debian : installez vous-même l'équivalent de :$packages"
fi
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ]; then
        root=
    elif command -v sudo >/dev/null 2>&1; then
        root=sudo
    else
        fail "il manque des paquets et ni root ni sudo ne sont là. Demandez à l'administrateur :
    apt-get install -y --no-install-recommends$missing"
    fi
    say "Paquets Debian :$missing"
    $root apt-get update -qq || say "apt-get update a échoué ; essai avec les listes présentes"
    # A broker of the system's own on port 1883 is of no use here: the demonstration starts one with its own keys.
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing ||
        fail "apt-get n'a pas pu installer :$missing
    Vérifiez le réseau (apt-get update), puis recommencez."
fi

# Python

python=${PYTHON:-python3}
command -v "$python" >/dev/null 2>&1 || fail "python3 manque : apt-get install python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "Python 3.11 ou plus récent est nécessaire ; ici : $("$python" -V 2>&1). Indiquez-en un autre : make PYTHON=python3.12"

osdp_flags="-DOSDP_PD_POLL_TIMEOUT_MS=20"
mark=.venv/installed
wanted="$what $osdp_flags $(cat bootstrap.lock "$lock" pyproject.toml | cksum)"
dev_wanted="dev $osdp_flags $(cat bootstrap.lock requirements-dev.lock pyproject.toml | cksum)"

# A service cannot write beside the code it runs: without bytecode it would compile all of it at every start, half of a
# second for numpy alone. Of the libraries some files are templates that do not compile.
compile_all() {
    [ -f .venv/bytecode ] && [ "$(cat .venv/bytecode)" = "$(cat "$mark")" ] || {
        .venv/bin/python -m compileall -q -j 0 .venv/lib/python3*/site-packages >/dev/null 2>&1 || :
        cp "$mark" .venv/bytecode
    }
    .venv/bin/python -m compileall -q canteen hand_geometry templates_store firmware_bridge sync terminal \
        enrollment_station billing_server demo benchmarks
}

# What serves development serves the demonstration too.
if [ -f "$mark" ] && { [ "$(cat "$mark")" = "$wanted" ] || [ "$(cat "$mark")" = "$dev_wanted" ]; }; then
    compile_all
    exit 0
fi

say "Environnement Python dans .venv ($lock)"
rm -f "$mark"
[ -x .venv/bin/python ] || "$python" -m venv .venv || fail "venv impossible : apt-get install python3-venv"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r bootstrap.lock ||
    fail "pip n'a pas pu installer uv : vérifiez le réseau, puis recommencez."
export UV_PYTHON_DOWNLOADS=never
uv_quiet=--quiet
[ -t 2 ] && uv_quiet=
# Without isolation, so that the compiler's helpers are those of the hashed bootstrap.lock, not whatever is newest.
# What was installed or cached before may have been built otherwise, hence anew.
CFLAGS="$osdp_flags" .venv/bin/uv pip install $uv_quiet --python .venv/bin/python --no-build-isolation-package pyscard \
    --no-build-isolation-package libosdp --no-binary libosdp --reinstall-package libosdp --refresh-package libosdp \
    --require-hashes -r "$lock" ||
    fail "l'installation depuis $lock a échoué : vérifiez le réseau et la place (df -h .), puis recommencez."
.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation -e . ||
    fail "l'installation de canteen-access dans .venv a échoué."
printf '%s' "$wanted" >"$mark"
compile_all
say "Prêt."
