# shellcheck shell=sh
# Makes the virtual environment and keeps it in step with requirements/*.txt. Sourced by the scripts beside it, which set
# $root; needs nothing but sh and Python >= 3.11, and fetches that itself where it may. A second run costs nothing.

say() { printf 'dumont: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# prepare SET: afterwards $python runs in an environment that holds requirements/SET.txt (cli, embedded or dev).
prepare() {
    venv=$(choose_venv "$1")
    python=$venv/bin/python
    is_synced "$1" || ( lock_checkout && build "$1" ) 9<"$root/bin/lib.sh" || exit 1
    [ -w "$root" ] || export PYTHONDONTWRITEBYTECODE=1
}

# A copy of the list that was installed is the stamp. Each set holds all of the one before it, so syncing it stamps those too.
is_synced() {
    [ -x "$python" ] && cmp -s "$root/requirements/$1.txt" "$venv/.synced-$1.txt"
}

# $DUMONT_VENV, else .venv in the checkout if it is ours to write or already as wanted, else one in the cache.
choose_venv() {
    venv=${DUMONT_VENV:-$root/.venv}
    python=$venv/bin/python
    case $venv in /*) ;; *) venv=$PWD/$venv python=$PWD/$python ;; esac
    if [ -z "${DUMONT_VENV:-}" ] && ! is_writable "$venv" && ! is_synced "$1"; then
        cache=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/dumont
        venv=$cache/venv-$(printf %s "$root" | cksum | cut -d ' ' -f 1)
    fi
    mkdir -p "$(dirname "$venv")" 2>/dev/null || die "$(dirname "$venv") cannot be made: set DUMONT_VENV to a folder that can."
    printf '%s\n' "$venv"
}

is_writable() {
    if [ -e "$1" ]; then [ -w "$1" ]; else [ -w "$root" ]; fi
}

# One run at a time builds. Descriptor 9 belongs to the subshell around it: the kernel lets go when that ends, however.
lock_checkout() {
    base=$(find_python) || exit 1
    "$base" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'
}

build() {
    ! is_synced "$1" || return 0 # another run did it while this one waited
    set_name=$(widest "$1")
    has_venv || make_venv || return 1
    rm -f "$venv"/.synced-*.txt
    install_requirements "$set_name" || return 1
    for each in cli embedded dev; do
        cp "$root/requirements/$each.txt" "$venv/.synced-$each.txt"
        [ "$each" != "$set_name" ] || break
    done
}

# Nothing that was installed for another script is lost to this one's.
widest() {
    found=
    for each in cli embedded dev; do
        if [ "$each" = "$1" ] || [ -f "$venv/.synced-$each.txt" ]; then found=$each; fi
    done
    printf '%s\n' "$found"
}

has_venv() {
    [ -x "$python" ] && is_new_enough "$python" && "$python" -c 'import pip' 2>/dev/null
}

# Without ensurepip, which bare Debian lacks: pip comes from the wheel beside this file.
make_venv() {
    say "making the virtual environment $venv"
    "$base" -m venv --clear --without-pip "$venv" || return 1
    set -- "$root"/bin/vendor/pip-*.whl
    "$python" "$1/pip" install --quiet --no-index --no-compile "$1"
}

install_requirements() {
    say "installing requirements/$1.txt"
    if sync_with_uv "$1"; then return 0; fi
    say "uv is of no use here; trying pip"
    pip install --require-hashes -r "$root/requirements/$1.txt"
}

sync_with_uv() {
    [ -x "$venv/bin/uv" ] || pip install --require-hashes -r "$root/bin/vendor/uv.txt" || return 1
    cache_option=
    is_cache_writable || cache_option=--no-cache
    # shellcheck disable=SC2086  # empty, it must vanish
    "$venv/bin/uv" pip sync --quiet $cache_option --python "$python" --require-hashes "$root/requirements/$1.txt"
}

is_cache_writable() {
    mkdir -p "${UV_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/uv}" 2>/dev/null
}

pip() {
    "$python" -m pip --disable-pip-version-check --quiet --no-input "$@"
}

# The first that runs and is new enough: a version manager's shim may be there and yet run nothing.
find_python() {
    search_python && return
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || die "Python 3.11 or newer is needed and was not found."
    say "installing Python with apt-get"
    apt_install python3 ca-certificates >&2 || die "apt-get could not install Python."
    search_python || die "Python 3.11 or newer is needed; this system's is older."
}

search_python() {
    for candidate in python3.11 python3.12 python3.13 python3.14 python3; do
        if is_new_enough "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

is_new_enough() {
    "$1" -c 'import sys, venv, ssl, ctypes, fcntl; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

apt_install() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -qq -y --no-install-recommends "$@" && return
    apt-get update -qq && apt-get install -qq -y --no-install-recommends "$@"
}
