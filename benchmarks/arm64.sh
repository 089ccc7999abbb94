#!/usr/bin/env bash
# The torch-free half of detkit on 64-bit ARM, without a board: as JSON on stdout.
#
#   sudo benchmarks/arm64.sh FLOAT.onnx INT8.onnx DATA > benchmarks/results/arm64.json
#   SUITES=trixie IMAGES=8 RUNTIMES="onnxruntime openvino" sudo -E benchmarks/arm64.sh ...
#
# For every Debian release in SUITES an ARM root is unpacked from its packages, with the Python it
# has; detkit's wheel and the ARM wheels of what it needs are put there by the pip of this machine.
# `info`, `eval`, `predict` and `bench` run inside under QEMU's user emulation, and what two exported
# files of one detector say there is compared with what they say here (benchmarks/arm64.py).
#
# What emulation takes says nothing of a board: no time is shown, and bench must call its own invalid.
#
# Needs root (chroot, mounts in a namespace of its own that end with it), 1 GB under TMPDIR, a mirror
# and an index of packages, and: apt-get install mmdebstrap qemu-user-static. PYTHON (.venv/bin/python)
# has detkit and pip. CPU is the emulated processor: what QEMU plays by default has vector extensions
# that no board has, on which kernels are not tested.
# /sys is that of this machine. OpenVINO needs one and is shown it; ONNX Runtime crashes where it is of
# another processor than the instructions, and is not.
set -euo pipefail
[ $# = 3 ] || { sed -n '2,6p' "$0" | cut -c3- >&2; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
float=$(realpath "$1") int8=$(realpath "$2") data=$(realpath "$3")
PYTHON=${PYTHON:-$root/.venv/bin/python}
qemu=$(command -v qemu-aarch64-static) && command -v mmdebstrap >/dev/null || {
    echo "error: apt-get install mmdebstrap qemu-user-static" >&2
    exit 4
}
[ "$(id -u)" = 0 ] || { echo "error: only root may chroot" >&2; exit 4; }
work=$(mktemp -d "${TMPDIR:-/tmp}/detkit-arm64.XXXXXX")
trap 'rm -rf "$work"' EXIT

# A copy, since building a wheel leaves folders beside the sources.
mkdir "$work/sources"
cp -r "$root/pyproject.toml" "$root/README.md" "$root/LICENSE" "$root/src" "$work/sources"
"$PYTHON" -m pip wheel -q --no-deps -w "$work" "$work/sources" >&2

# Unpacks SUITE into ROOT; nothing of it is run, so neither binfmt nor maintainer scripts matter.
make_root() {
    mmdebstrap --quiet --variant=extract --architectures=arm64 \
        --include=python3,libstdc++6,libgomp1 "$1" "$2" "${MIRROR:-http://deb.debian.org/debian}" >&2
    for name in bin lib sbin; do  # where no package has them, a script that is not run makes links
        [ -e "$2/$name" ] || ln -s "usr/$name" "$2/$name"
    done
    mkdir -p "$2/proc" "$2/sys" "$2/dev" "$2/tmp" "$2/work"
    cp "$qemu" "$2/usr/bin/"
    cp "$root/benchmarks/arm64.py" "$2/work/"
    cp "$float" "$2/work/float.onnx"
    cp "$int8" "$2/work/int8.onnx"
    cp -r "$data" "$2/work/data"
}

for suite in ${SUITES:-bookworm trixie}; do
    make_root "$suite" "$work/$suite"
    version=$(basename "$(readlink "$work/$suite/usr/bin/python3")")
    "$PYTHON" "$root/benchmarks/arm64.py" wheels "${version#python}" "$work"/detkit-*.whl \
        --into "$work/$suite/opt/packages" >"$work/$suite.wheels"
    cat >"$work/$suite.run" <<EOF
#!/bin/sh
# Runs the ARM Python of the root with these arguments, with /sys where SHOW_SYS is not empty.
exec unshare --mount sh -c '{ [ -z "\$SHOW_SYS" ] || mount -t sysfs -o ro sysfs "$work/$suite/sys"; } &&
    mount -t proc proc "$work/$suite/proc" &&
    mount --bind /dev "$work/$suite/dev" &&
    exec env -i PATH=/usr/sbin:/usr/bin LANG=C.UTF-8 HOME=/tmp OMP_NUM_THREADS=1 \\
        PYTHONPATH=/opt/packages chroot "$work/$suite" /usr/bin/$(basename "$qemu") \\
        -cpu ${CPU:-cortex-a76} /usr/bin/python3 "\$@"' sh "\$@"
EOF
    chmod +x "$work/$suite.run"
    "$PYTHON" "$root/benchmarks/arm64.py" compare "$suite" "$work/$suite.run" "$work/$suite/work" \
        --cpu "${CPU:-cortex-a76}" --images "${IMAGES:-4}" --wheels "$work/$suite.wheels" \
        --runtimes ${RUNTIMES:-onnxruntime} >"$work/$suite.json"
done
"$PYTHON" "$root/benchmarks/arm64.py" record "$work"/detkit-*.whl "$work"/*.json
