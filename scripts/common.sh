# Shared by the scripts beside it: how they speak, and where they stand. Sourced, never run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Every message names its script, so that a line in a long log can be traced to its source.
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# die MESSAGE [WHAT TO DO]...
die() {
    say "error: $1"
    shift
    local line
    for line in "$@"; do printf '  %s\n' "$line" >&2; done
    exit 1
}

# Wrong usage has an exit code of its own, 2.
wrong_usage() {
    say "$1"
    printf '  try: %s --help\n' "$0" >&2
    exit 2
}

need_root() {
    [[ $EUID -eq 0 ]] || die "needs root: hugepages, network namespaces and DPDK ports do" \
        "sudo -E env \"PATH=\$PATH\" $0${*:+ $*}"
}

# The comment block at the head of a script is its help text.
print_help() { awk 'NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$0"; }

# A login shell has rustup's directory in PATH, a CI job or sudo often has not.
if ! command -v cargo >/dev/null && [[ -x ${CARGO_HOME:-${HOME:-/root}/.cargo}/bin/cargo ]]; then
    export PATH="${CARGO_HOME:-${HOME:-/root}/.cargo}/bin:$PATH"
fi

target_dir=${CARGO_TARGET_DIR:-$root/target}
