# Sourced: makes the project's libraries importable on a machine that has torch and no network. Where .gpu/site.tar.xz was carried along,
# with what the machine lacks, it is unpacked to SITE once; a later call on the same machine finds it there.
SITE=${SITE:-/tmp/site}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
if [ ! -e "$SITE/.whole" ] && [ -e .gpu/site.tar.xz ]; then
    mkdir -p "$SITE"
    tar -C "$SITE" -xf .gpu/site.tar.xz
    # facenet-pytorch imports it for downloads that nothing asks for.
    if ! "${PYTHON:-python3}" -c 'import requests.adapters' 2> /dev/null; then
        mkdir -p "$SITE/requests"
        touch "$SITE/requests/__init__.py"
        echo 'HTTPAdapter = object' > "$SITE/requests/adapters.py"
    fi
    touch "$SITE/.whole"
fi
[ ! -e "$SITE/.whole" ] || export PYTHONPATH="$SITE${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}$root" PYTHONUNBUFFERED=1 GOMP_SPINCOUNT=3000
PYTHON=${PYTHON:-python3}
if ! "$PYTHON" -c 'import torch, pyarrow, pydantic, faiss, soundfile, av, facenet_pytorch' 2> /dev/null; then
    echo "$PYTHON lacks torch, pyarrow, pydantic, faiss, soundfile, av or facenet_pytorch: name one that has them (PYTHON=…), or carry .gpu/site.tar.xz along" >&2
    exit 1
fi
