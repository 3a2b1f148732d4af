# What tests/run and benches/run want of the machine: it is there, is installed, or its absence ends the run.

# need COMMAND REMEDY [PACKAGE]: COMMAND can be run, or is installed from the Debian package, or the caller ends.
need() {
    if command -v "$1" >/dev/null; then return; fi
    if [[ -n ${3:-} ]]; then
        debian_package "$3"
        if command -v "$1" >/dev/null; then return; fi
    fi
    missing "the command $1" "${2:-install the Debian package ${3:-}}"
}

# missing WHAT REMEDY: ends the caller. Nothing that is wanted here is ever skipped.
missing() {
    echo "MISSING: $1 cannot be had on this machine. Remedy: $2" >&2
    exit 1
}

# The server's programs are in no PATH on Debian.
need_postgresql() {
    if command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then return; fi
    debian_package postgresql
}

debian_package() {
    local as_root=()
    if [[ $EUID -ne 0 ]]; then
        command -v sudo >/dev/null || missing "the Debian package $1 (no root, no sudo)" "apt-get install $1"
        as_root=(sudo --non-interactive)
    fi
    command -v apt-get >/dev/null || missing "the Debian package $1 (no apt-get)" "install what it holds"
    echo "installing the Debian package $1"
    # The list of packages of a fresh machine is empty or old.
    "${as_root[@]}" apt-get update --quiet --quiet || echo "apt-get update failed; trying with the list there is" >&2
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --quiet --quiet --no-install-recommends "$1" </dev/null ||
        missing "the Debian package $1 (apt-get failed, see above)" "apt-get install $1"
}
