# Sourced by quickstart.sh and search_demo.sh: detkit installed, the folder of --data, one to work in.
#
#   . examples/demo.sh; start_demo NAME [--data DIR]
#
# Sets root (of the sources), data (that folder, or empty) and out (runs/NAME, made anew), and goes
# there. Other arguments print the comment that the script begins with, and end it.

start_demo() {
    root=$(cd "$(dirname "$0")/.." && pwd)
    . "$root/examples/venv.sh"
    data=
    case ${2:-} in
        "") ;;
        --data) data=$(cd "${3:?--data needs a folder}" && pwd) ;;
        *) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
    make_venv "$root" train
    PATH=$root/.venv/bin:$PATH
    out=$root/runs/$1
    rm -rf "$out" && mkdir -p "$out"
    cd "$out"
    began=$SECONDS
}

step() { printf '\n[%3ds] %s\n' $((SECONDS - began)) "$*"; }
run() { step "detkit $*"; detkit "$@"; }
