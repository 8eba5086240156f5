# Everything a developer or a new user runs. Needs Python 3.11 or later and make; installs the rest
# into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What `make test` runs in parallel: the suite's tests wait more than they compute.
JOBS ?= 4
PYTEST_ARGS ?=

# How long `make soak` harms a server at random after its tests, and further arguments of that
# (--seed N, --faults cut kill-worker ...).
MINUTES ?= 2
SOAK_ARGS ?=

# How long `make fuzz` gives the decoder other bytes.
SECONDS ?= 600

.PHONY: up docker-test demo test lint unit portable soak fuzz docs bench bench-peers limits must-show tutorials \
  exactly-once hosts verdicts clean help
# Arguments of the benchmarks, e.g. make bench BENCH_ARGS="--workload small --plot bench.svg".
BENCH_ARGS ?=

help:
	@echo "make demo       the main job: train a segmentation network on real scans (3 minutes, installation included)"
	@echo "make test       ruff, mypy --strict and the test suite"
	@echo "make up         the MRI example in containers: builds, trains, stops; needs Docker with Compose 2"
	@echo "make docker-test  that and more, proved on an engine; as root on Debian it brings its own (6 minutes)"
	@echo "make portable   the suite's integration tests without what only Linux has"
	@echo "make soak       the proofs that take minutes and gigabytes, then random faults"
	@echo "                for 2 minutes; another time: make soak MINUTES=20"
	@echo "make fuzz       other bytes for the decoder, guided by coverage, for 10 minutes (make fuzz SECONDS=60)"
	@echo "make docs       write docs/api from the docstrings"
	@echo "make bench      benchmarks/bench.py: genserver beside plain from_generator and what else is installed"
	@echo "make bench-peers  the same, after installing the other loaders (torch, grain, datasets)"
	@echo "make limits     benchmarks/limits.py: how fast genserver must be, line by line, met or not"
	@echo "make must-show  benchmarks/must_show.py: the promises that take minutes to measure"
	@echo "make tutorials  benchmarks/tutorials.py: recipes of five documents beside one changed line (5 minutes)"
	@echo "make exactly-once  benchmarks/exactly_once.py: a million elements under kills and cuts (6 minutes)"
	@echo "make verdicts   benchmarks/verdicts.py: is the slow one named, as root (15 minutes)"
	@echo "make hosts      benchmarks/hosts.py: several hosts in network namespaces, as root (15 minutes)"
	@echo "make clean      remove the environment and caches"

demo: $(VENV)/.demo
	$(BIN)/python examples/mri/train.py

test: lint unit

up:
	@docker/up.sh

docker-test:
	@$(PYTHON) docker/proof/run.py

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=$(VENV)/typed $(BIN)/mypy

# Where no bytecode is written, each of a thousand processes would compile the packages again.
unit: $(VENV)/.test
	$(BIN)/python -m compileall -q protocol server client tests
	$(BIN)/python -m pytest -n $(JOBS) $(PYTEST_ARGS)

portable: $(VENV)/.test
	GENSERVER_PORTABLE=1 $(BIN)/python -m pytest -n $(JOBS) -m "not linux" tests/integration

soak: $(VENV)/.fuzz
	$(BIN)/python -m pytest -m soak -o faulthandler_timeout=900
	$(BIN)/python benchmarks/soak_faults.py --minutes $(MINUTES) $(SOAK_ARGS)

fuzz: $(VENV)/.fuzz
	$(BIN)/python tests/fuzz/decoder.py --seconds $(SECONDS)

docs: $(VENV)/.test
	$(BIN)/python docs/generate.py

bench: $(VENV)/.demo
	$(BIN)/python benchmarks/bench.py $(BENCH_ARGS)

bench-peers: $(VENV)/.bench
	$(BIN)/python benchmarks/bench.py $(BENCH_ARGS)

limits: $(VENV)/.bench
	$(BIN)/python benchmarks/limits.py $(BENCH_ARGS)

must-show: $(VENV)/.demo
	$(BIN)/python benchmarks/must_show.py

tutorials: $(VENV)/.demo
	$(BIN)/python benchmarks/tutorials.py $(BENCH_ARGS)

exactly-once: $(VENV)/.demo
	$(BIN)/python benchmarks/exactly_once.py $(BENCH_ARGS)

verdicts: $(VENV)/.demo
	$(BIN)/python benchmarks/verdicts.py $(BENCH_ARGS)

hosts: $(VENV)/.demo
	$(BIN)/python benchmarks/hosts.py $(BENCH_ARGS)

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "genserver needs Python 3.11 or later: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "Python's venv module is missing: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[tensorflow,demo]"
	@touch $@

$(VENV)/.bench: $(VENV)/.demo
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[tensorflow,demo,bench]"
	@touch $@

# Where atheris has no wheel, `make fuzz` says so itself and the test of `make soak` is skipped.
$(VENV)/.fuzz: $(VENV)/.test
	@if $(BIN)/python -m pip install -q -c constraints.txt -e ".[tensorflow,demo,test,fuzz]"; \
	  then touch $@; else echo "atheris cannot be installed here" >&2; fi

$(VENV)/.test: $(VENV)/.demo
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[tensorflow,demo,test]"
	@# mypy does not follow the import hook of an editable install; these links show it the packages.
	@mkdir -p $(VENV)/typed/genserver
	@for part in protocol server client; do ln -sfn ../../../$$part $(VENV)/typed/genserver/$$part; done
	@touch $@
