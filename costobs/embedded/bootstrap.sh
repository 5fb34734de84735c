#!/bin/sh
# Sets the project up on a machine that has git, make, sh and some Python 3, then runs the command it is given in it.
# Programs are believed only after they have run: a shim may be on PATH and still end with 127.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cd "$root"
data=${COSTOBS_DATA:-.costobs}
case $data in /*) ;; *) data=$root/$data ;; esac
tools=$data/tools
pyenv_versions=${PYENV_ROOT:-${HOME:-/nonexistent}/.pyenv}/versions

say() { printf 'setup: %s\n' "$*" >&2; }

fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

uv_works() { "$1" --version >/dev/null 2>&1; }

is_python() { "$1" -c "import sys; sys.exit(sys.version_info < ($2))" >/dev/null 2>&1; }

find_uv() {
    for candidate in "${UV:-}" uv "$tools/bin/uv" "${HOME:-}/.local/bin/uv" "${HOME:-}/.cargo/bin/uv" "$pyenv_versions"/*/bin/uv; do
        if [ -n "$candidate" ] && uv_works "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

find_python() { # $1: the least version, as "3, 12"
    for candidate in python3.13 python3.14 python3.12 python3 python \
        "$pyenv_versions"/3.13*/bin/python3 "$pyenv_versions"/*/bin/python3 /usr/bin/python3 /usr/local/bin/python3; do
        if is_python "$candidate" "$1"; then
            # The interpreter itself, not the shim that led to it.
            "$candidate" -c 'import sys; print(sys.executable)'
            return 0
        fi
    done
    return 1
}

install_uv() {
    some_python=$(find_python "3, 8") || fail "uv is not installed, and there is no Python 3.8 or later to install it with." \
        "Install uv (https://docs.astral.sh/uv/) or a Python 3, then run this again."
    say "installing uv into $tools"
    mkdir -p "$tools"
    if "$some_python" -m venv "$tools" >/dev/null 2>&1 && "$tools/bin/python" -m pip install --quiet --disable-pip-version-check uv >&2; then
        return 0
    fi
    # Debian's python3 has neither venv nor pip: its standard library can still fetch and check a wheel.
    if "$some_python" "$root/costobs/embedded/fetch_uv.py" "$tools/bin" >&2; then
        return 0
    fi
    fail "uv could not be installed with $some_python." "Install it by hand (https://docs.astral.sh/uv/), then run this again."
}

choose_python() {
    if is_python .venv/bin/python "3, 12"; then
        printf '%s\n' .venv/bin/python
    elif python=$(find_python "3, 12"); then
        printf '%s\n' "$python"
    elif python=$("$uv" python find '>=3.12' 2>/dev/null) && is_python "$python" "3, 12"; then
        printf '%s\n' "$python"
    else
        say "no Python 3.12 or later here: asking uv for one"
        "$uv" python install 3.13 >&2 || fail "There is no Python 3.12 or later, and uv could not fetch one." \
            "Install Python 3.12 or later and put it on PATH (Debian 13: apt-get install -y python3), then run this again."
        "$uv" python find 3.13
    fi
}

# A company's own certificate authority is in the system's store, if there is one, and not in the one uv brings along.
for store in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
    if [ -r "$store" ]; then
        UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-true} UV_NATIVE_TLS=${UV_NATIVE_TLS:-true} # the second is its name in older releases
        export UV_SYSTEM_CERTS UV_NATIVE_TLS
        break
    fi
done

uv=$(find_uv) || {
    install_uv
    uv=$tools/bin/uv
    uv_works "$uv" || fail "the uv that was installed into $tools does not run."
}
python=$(choose_python)
# A lock file that is newer than the environment, or another interpreter, is uv's to notice: a warm sync takes 50 ms.
UV_PYTHON=$python UV_PYTHON_DOWNLOADS=manual "$uv" sync --frozen --quiet ||
    fail "uv sync failed with $python (see above)."
[ $# -gt 0 ] || exit 0
PATH=$root/.venv/bin:$PATH VIRTUAL_ENV=$root/.venv
# Some tests start servers in environments of their own.
UV=$uv
export PATH VIRTUAL_ENV UV
exec "$@"
