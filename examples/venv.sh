# Sourced by demo.sh and tests/run.sh: makes a venv beside the sources and installs detkit in it.
#
#   . examples/venv.sh; make_venv ROOT [EXTRA]           # ROOT/.venv: the versions of constraints.txt
#   . examples/venv.sh; make_newest_venv ROOT [EXTRA]    # ROOT/.venv-newest: the newest of everything
#
# PYTHON names another interpreter than python3.

# Runs pip only when pyproject.toml, constraints.txt or the extra have changed since the last time.
make_venv() {
    root=$1 extra=${2:-}
    stamp=$root/.venv/.installed${extra:+-$extra}
    wanted=$(cat "$root/pyproject.toml" "$root/constraints.txt" | cksum)
    [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ] && return
    install_in "$root/.venv" --constraint "$root/constraints.txt" \
        --editable "$root${extra:+[$extra]}" || return
    echo "$wanted" >"$stamp"
}

# Runs pip every time, since something newer may be out.
make_newest_venv() {
    root=$1 extra=${2:-}
    install_in "$root/.venv-newest" --upgrade --upgrade-strategy eager \
        --editable "$root${extra:+[$extra]}"
}

# install_in VENV ARGS...: makes the venv where there is none and calls its `pip install ARGS`.
install_in() {
    venv=$1
    shift
    echo "installing detkit${extra:+[$extra]} into $(basename "$venv")" >&2
    "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
        echo "error: detkit needs Python 3.10 or newer (PYTHON=... names another)" >&2
        return 1
    }
    [ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" >&2
}
