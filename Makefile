# make demo: the whole loop on the small corpus in demo/.   make demo-av: the same with faces.   make test: everything that
# CI checks. All set up .venv from requirements.lock first; nothing else on the machine is touched.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.ONESHELL:

BIN := .venv/bin
CORES ?= $(shell nproc)
# The environment is whole if it carries the mark of this lock file; if not, it is made anew.
STAMP := .venv/.made-from-$(shell sha256sum requirements.lock | cut -c1-16)

# All of the lock, with PyPI's torch: on x86-64 that brings CUDA.
UV_INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python
INSTALL = $(UV_INSTALL) --requirements requirements.lock && $(UV_INSTALL) --no-deps --editable .
EXTRAS ?= train,audio-visual,demo

# A second core speeds up the demo's small steps by a fifth to a half, and a job's start not at all: two jobs of one thread side
# by side are through well before two of two in turn. Only pretraining, which has nothing beside it, gets all cores.
SIDE_BY_SIDE := $(addsuffix =1,pack noise rirs faces extract extract_av cluster train train_av score modalities)
SNAKEMAKE = $(BIN)/snakemake --cores $(CORES) --set-threads $(SIDE_BY_SIDE) --rerun-incomplete --quiet host --no-hooks

.PHONY: help
help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

.PHONY: setup
setup: $(STAMP) ## the virtual environment .venv

$(STAMP): requirements.lock
	@python=
	for candidate in $${PYTHON:-} python3.12 python3.11 python3; do
	    if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2> /dev/null; then python=$$candidate; break; fi
	done
	if [ -z "$$python" ]; then
	    echo 'Python 3.11 or 3.12 is needed and none of python3.12, python3.11, python3 is one. Install it, or name it: make setup PYTHON=/path/to/python3.12' >&2
	    exit 1
	fi
	if ! "$$python" -c 'import ensurepip, venv' 2> /dev/null; then
	    echo "$$python cannot make virtual environments: install its venv package (Debian, Ubuntu: apt install python3-venv)" >&2
	    exit 1
	fi
	echo "Setting up .venv with $$("$$python" --version), once: a few minutes and some gigabytes"
	rm -rf .venv
	"$$python" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements.lock)"
	$(INSTALL)
	touch $@

# From PyTorch's own index, download.pytorch.org: its builds for CPUs ask for none of CUDA's packages.
.PHONY: setup-cpu
setup-cpu: INSTALL = $(UV_INSTALL) --torch-backend cpu --constraints requirements.lock --editable '.[$(EXTRAS)]'
setup-cpu: $(STAMP) ## a small .venv without CUDA, to train and for the demos; for more name EXTRAS=train,dev,...

.PHONY: setup-gpu
setup-gpu: setup ## k-means on GPUs, too: faiss-gpu instead of faiss-cpu in .venv
	@version=$$(sed -n 's/^faiss-cpu==//p' requirements.lock)
	$(BIN)/uv pip uninstall --quiet --python $(BIN)/python faiss-cpu
	$(BIN)/uv pip install --quiet --python $(BIN)/python "faiss-gpu==$$version"
	$(BIN)/python -c 'import faiss; print(f"faiss {faiss.__version__} sees {faiss.get_num_gpus()} GPUs")'

.PHONY: demo
demo: setup ## the whole loop on real voices, in minutes
	@if ! $(SNAKEMAKE) --configfile demo/config.yaml; then
	    echo 'The demo stopped. The log of each job is in results/demo/logs; the failed one is named above.' >&2
	    exit 1
	fi
	printf '\n'
	cat results/demo/logs/metrics.txt
	echo "Report: $(CURDIR)/results/demo/report.html"

# Both runs start from the demo's CA-DINO; from there on they go side by side.
.PHONY: demo-av
demo-av: setup ## the demo with faces: the same voices, paired with other people's photographs
	@failed() { echo "The demo stopped. The log of each job is in results/$$1/logs; the failed one is named above." >&2; exit 1; }
	with_faces() {
	    $(BIN)/python demo/make_videos.py --into results/demo-videos --processes $(CORES)
	    $(SNAKEMAKE) --configfile demo/config.yaml demo/av.yaml
	}
	$(SNAKEMAKE) --configfile demo/config.yaml -- pretrained || failed demo
	with_faces & faces=$$!
	$(SNAKEMAKE) --configfile demo/config.yaml || { wait $$faces || true; failed demo; }
	wait $$faces || failed demo-av
	printf '\n'
	$(BIN)/python demo/compare.py results/demo results/demo-av
	echo "Reports: $(CURDIR)/results/demo/report.html, $(CURDIR)/results/demo-av/report.html"

.PHONY: test
test: lint ## lint, type check and all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: lint
lint: setup ## ruff, snakefmt, snakemake --lint, hadolint, mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	$(BIN)/hadolint containers/Dockerfile
	$(BIN)/mypy

.PHONY: docs
docs: setup ## the documentation as web pages in build/docs
	$(BIN)/mkdocs build --strict --quiet
	echo "Open $(CURDIR)/build/docs/index.html"

.PHONY: format
format: setup ## lay out all code as the linters want it
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/snakefmt Snakefile workflow
	$(BIN)/python -m workflow.schema
	$(BIN)/python -m workflow.reference

.PHONY: lock
lock: setup ## renew requirements.lock within the ranges of pyproject.toml
	$(BIN)/uv pip compile --universal --python-version 3.11 --extra train --extra audio-visual --extra onnx --extra sherpa --extra hub --extra vad --extra demo --extra explore --extra docs --extra dev --no-annotate --no-emit-index-url \
	    --custom-compile-command 'make lock' --output-file requirements.lock pyproject.toml
