#!/usr/bin/env bash
# Error rates on the demo's voices in at most six minutes of a GPU: benchmarks/gpu_accuracy.sh OUT [--small]. See gpu_accuracy.py.
set -euo pipefail
out=$(realpath -m "${1:?a folder for the figures}")
shift
. "$(dirname "${BASH_SOURCE[0]}")/gpu_site.sh"
exec "$PYTHON" benchmarks/gpu_accuracy.py "$out" "$@"
