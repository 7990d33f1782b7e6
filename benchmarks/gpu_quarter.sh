#!/usr/bin/env bash
# Everything that a GPU is asked in at most seven minutes: benchmarks/gpu_quarter.sh OUT [--small]. See gpu_quarter.py.
set -euo pipefail
out=$(realpath -m "${1:?a folder for the figures}")
shift
. "$(dirname "${BASH_SOURCE[0]}")/gpu_site.sh"
exec "$PYTHON" benchmarks/gpu_quarter.py "$out" "$@"
