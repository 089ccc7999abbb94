# Sourced by demo.sh and tests/run.sh: makes .venv beside the sources and installs detkit.
#
#   . examples/venv.sh; make_venv ROOT [EXTRA]
#
# Runs pip only when pyproject.toml, constraints.txt or the extra have changed since the last time.
# PYTHON names another interpreter than python3.

make_venv() {
    root=$1 extra=${2:-}
    stamp=$root/.venv/.installed${extra:+-$extra}
    wanted=$(cat "$root/pyproject.toml" "$root/constraints.txt" | cksum)
    [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ] && return
    echo "installing detkit${extra:+[$extra]} into .venv" >&2
    "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
        echo "error: detkit needs Python 3.10 or newer (PYTHON=... names another)" >&2
        return 1
    }
    [ -x "$root/.venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$root/.venv"
    "$root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --constraint "$root/constraints.txt" --editable "$root${extra:+[$extra]}" >&2
    echo "$wanted" >"$stamp"
}
