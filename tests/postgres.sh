#!/usr/bin/env bash
# postgres.sh DIRECTORY: a private PostgreSQL server in that empty directory, reached by the socket there, by the user
# and password that follow. It obeys lines on standard input (`start`, `stop`), answers each with a line, and ends with
# standard input, so that no server outlives the tests that wanted it.
set -euo pipefail
user=sidecar
password=s3cret

directory=$1
programs=$(dirname "$(command -v initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort --version-sort | tail -n 1)" || true)
if [[ ! -x $programs/initdb ]]; then
    echo "MISSING: PostgreSQL's initdb is neither in PATH nor in /usr/lib/postgresql. Remedy: apt-get install postgresql"
    exit 1
fi

# PostgreSQL refuses to run as root.
as=()
if [[ $EUID -eq 0 ]]; then
    as=(setpriv --reuid=postgres --regid=postgres --init-groups --)
    chown postgres:postgres "$directory"
fi

say_and_end() {
    echo "FAILED: $(tr '\n' ' ' <"$1")"
    exit 1
}

server() {
    # Not our standard input and output: the server would keep them open.
    "${as[@]}" "$programs/pg_ctl" "$@" --wait --silent --pgdata "$directory/data" \
        --log "$directory/log" </dev/null >"$directory/said" 2>&1 || say_and_end "$directory/said"
}

start() {
    server start --options "-c listen_addresses='' -c unix_socket_directories='$directory' -c fsync=off \
        -c max_connections=200 -c deadlock_timeout=100ms"
}

cd "$directory"
# By MD5, which costs no time: SCRAM takes a debug build a tenth of a second of both cores for each session. A role that
# has a SCRAM password is still asked for that.
printf '%s\n' "$password" >"$directory/password"
[[ $EUID -ne 0 ]] || chown postgres "$directory/password"
"${as[@]}" "$programs/initdb" --pgdata "$directory/data" --username "$user" --pwfile "$directory/password" \
    --auth md5 --encoding UTF8 --locale C --no-sync >"$directory/said" 2>&1 || say_and_end "$directory/said"
start
echo ready

while read -r command; do
    case $command in
    start) start ;;
    stop) server stop --mode immediate ;;
    esac
    echo done
done
server stop --mode immediate || true
cd /
rm -rf "$directory"
