#!/usr/bin/env bash
# Writes deploy/locks/: what the images install and what audits that, each file with its hashes, at the versions that
# constraints.txt names.
#
# Needs uv; `make locks` brings one. CPU_WHEELS is a folder or an index that has torch's CPU wheels, as PyTorch's own
# index of them does: they are on no other. Run it after every change of constraints.txt or of pyproject.toml's
# dependencies; tests/deploy/test_images.py says when that was forgotten.
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${UV:=uv}" "${CPU_WHEELS:?must be a folder or an index that has the CPU wheel of torch}"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Names of the requirements on standard input, with their hashes, for the one platform that the images are built for.
lock() {
  "$UV" --quiet pip compile --no-config --generate-hashes --constraint constraints.txt \
    --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links "$@"
}

# The lines of the lock $2 whose package is not in the lock $1: the worker is built on the control plane's image.
beyond() {
  awk '/^[^ ]/ { name = $1; sub(/==.*/, "", name) }
       NR == FNR { base[name]; next }
       !(name in base)' "$1" "$2"
}

write() {
  { echo "# $2 Written by deploy/release/locks.sh."; cat "$3"; } > "deploy/locks/$1.txt"
}

sed -n '/^\[build-system\]/,/^$/s/^requires = \["\(.*\)"\]/\1/p' pyproject.toml > "$work/build.in"
lock "$work/build.in" --output-file "$work/build"
echo 'pip-audit>=2.10' > "$work/audit.in"
lock "$work/audit.in" --output-file "$work/audit"
lock pyproject.toml --extra redis --extra parquet --extra tracing --output-file "$work/control-plane"
lock pyproject.toml --extra redis --extra parquet --extra tracing --extra worker --extra upscale --output-file "$work/all"
version=$(sed -n 's/^torch==//p' constraints.txt)
echo "torch==$version+cpu" > "$work/cpu.in"
# torchvision must be built for what torch is built for, so `upscale` is not here.
lock pyproject.toml --extra redis --extra parquet --extra tracing --extra worker --override "$work/cpu.in" \
  --find-links "$CPU_WHEELS" --output-file "$work/all-cpu"
beyond "$work/control-plane" "$work/all" > "$work/worker"
beyond "$work/control-plane" "$work/all-cpu" > "$work/worker-cpu"

write build "What our own wheels are built with." "$work/build"
write audit "What make audit runs: no image has it." "$work/audit"
write control-plane "The control plane's image." "$work/control-plane"
write worker "What the GPU worker's image has beyond the control plane's." "$work/worker"
write worker-cpu "The same without CUDA and without upscalers: for trials without a GPU." "$work/worker-cpu"
