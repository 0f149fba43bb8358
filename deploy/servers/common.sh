# Shared by the scripts in this folder; sourced, never run.
# shellcheck shell=bash
set -euo pipefail

REPO="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
# Downloads and builds. Git ignores it; removing it loses only caches and test data.
SERVERS="${LUNAPARK_SERVERS:-$REPO/.servers}"
# Data, logs and pids; tests/run sets a folder of its own, so that it can stop all that its tests started.
# shellcheck disable=SC2034 # used by the scripts that source this
INSTANCES="${LUNAPARK_INSTANCES:-$SERVERS}"

die() {
    printf '%s: %s\n' "$(basename "$0")" "$1" >&2
    exit "${2:-1}"
}

need() {
    command -v "$1" >/dev/null 2>&1 || die "$1 is not installed; run deploy/servers/install"
}

port_open() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# A process killed a moment ago may still be giving its sockets back: waits up to 5 s before calling a port taken.
claim_port() {
    local tries
    for ((tries = 0; tries < 50; tries++)); do
        port_open "$1" || return 0
        sleep 0.1
    done
    die "port $1 is taken; choose another with --port, or --port auto"
}

# First of `count` neighbouring free ports at or above `from`. Each process begins elsewhere, so that two starts at the
# same moment do not choose the same.
free_ports() {
    local from="$1" count="$2" port i
    for ((port = from + $$ % 150 * 10; port < from + 2000; port += 10)); do
        for ((i = 0; i < count; i++)); do
            if port_open $((port + i)); then continue 2; fi
        done
        echo "$port"
        return
    done
    die "no free port between $from and $((from + 2000))"
}

# True when the pid file names a live process whose command line holds `mark`: a recycled pid is not ours.
running() {
    local pidfile="$1" mark="$2" pid
    [ -s "$pidfile" ] || return 1
    pid="$(cat "$pidfile")"
    case "$(ps -ww -p "$pid" -o args= 2>/dev/null)" in
        *"$mark"*) return 0 ;;
        *) return 1 ;;
    esac
}

# Runs the command as a daemon that holds none of our descriptors, so a caller reading our output is not kept waiting.
# Returns once the process is the command, or is gone: until then it is a copy of this shell, which `running` would take
# for somebody else's.
daemon() {
    local pidfile="$1" log="$2" tries
    shift 2
    if command -v setsid >/dev/null 2>&1; then
        setsid "$@" </dev/null >>"$log" 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
    else
        nohup "$@" </dev/null >>"$log" 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
    fi
    echo $! >"$pidfile"
    for ((tries = 0; tries < 100; tries++)); do
        case "$(ps -ww -p $! -o args= 2>/dev/null)" in
            '' | *"$1"*) return 0 ;;
        esac
        sleep 0.05
    done
}

# Sends `signal`, waits until the process is gone, and after 20 s kills it.
end() {
    local pidfile="$1" mark="$2" signal="$3" pid tries
    if ! running "$pidfile" "$mark"; then
        rm -f "$pidfile"
        return 0
    fi
    pid="$(cat "$pidfile")"
    kill "-$signal" "$pid" 2>/dev/null || true
    for ((tries = 0; tries < 200; tries++)); do
        if ! running "$pidfile" "$mark"; then
            rm -f "$pidfile"
            return 0
        fi
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
    rm -f "$pidfile"
}

# Puts a finished download in its place. Two first starts may race; the later one drops its copy.
keep_first() {
    if [ -d "$2" ]; then rm -rf "$1"; else mv "$1" "$2"; fi
}

# Go of 1.25 or later, which versitygw wants. An older one (Debian 12 has 1.19) fetches a newer toolchain as a Go module; it comes without
# execute bits and with its go.mod files under another name, which only a Go of 1.21 and later puts right by itself.
GO_TOOLCHAIN=go1.26.5

go_command() {
    need go
    local minor goroot module dir
    minor="$(go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')"
    if [ "${minor:-0}" -ge 25 ]; then
        command -v go
        return
    fi
    goroot="$SERVERS/$GO_TOOLCHAIN"
    if [ ! -x "$goroot/bin/go" ]; then
        echo "$(basename "$0"): $(go version) is too old; fetching $GO_TOOLCHAIN (once)" >&2
        module="golang.org/toolchain@v0.0.1-$GO_TOOLCHAIN.$(go env GOOS)-$(go env GOARCH)"
        dir="$(cd / && GOTOOLCHAIN=local go mod download -json "$module" | sed -n 's/^.*"Dir": "\(.*\)".*$/\1/p')"
        [ -d "$dir" ] || die "$module could not be fetched; install Go 1.25 or later"
        mkdir -p "$goroot.$$"
        cp -R "$dir/." "$goroot.$$"
        chmod -R u+w "$goroot.$$"
        chmod +x "$goroot.$$"/bin/* "$goroot.$$"/pkg/tool/*/*
        find "$goroot.$$" -name _go.mod -execdir mv {} go.mod \;
        keep_first "$goroot.$$" "$goroot"
    fi
    echo "$goroot/bin/go"
}
