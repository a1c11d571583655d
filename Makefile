# The two commands for developers are `make check` and `make test`; `make demo` is for everybody.
# Each sets up what it needs; the second run starts at once.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo demo-federated test check simulate chaos bench peers format clean venv envtest constraints

$(STAMP): constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=python3.12, say")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q src/neptune
	touch $(STAMP)

venv: $(STAMP)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The real parts that the tests run against: etcd, kube-apiserver, kubectl and an S3 server built once, mosquitto installed.
envtest: $(STAMP)
	$(BIN)/python -m tests.support.prepare

test: envtest
	$(BIN)/pytest

# Whole systems on virtual time with seeded faults: `make simulate SEEDS=10000 FROM=0`.
SEEDS ?= 1000
FROM  ?= 0
simulate: $(STAMP)
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m neptune.testing.simulation --seeds $(SEEDS) --from $(FROM)

# Real programs, broker and API server, with real faults: `make chaos ROUNDS=20`, and CHAOS_SEED=... to repeat one.
ROUNDS     ?= 10
CHAOS_SEED ?= $(shell date +%s)
chaos: envtest
	NEPTUNE_REQUIRE_REAL=1 NEPTUNE_CHAOS_ROUNDS=$(ROUNDS) NEPTUNE_CHAOS_SEED=$(CHAOS_SEED) $(BIN)/pytest -s tests/chaos

# The main job on the embedded parts, with real processes: no cluster and no broker needed.
demo: $(STAMP)
	$(BIN)/neptune demo

# Federated training on three nodes of this machine, one of which is killed on the way.
demo-federated: $(STAMP)
	$(BIN)/python examples/federated/demo.py

# Peers that are measured beside us, in an environment of their own. Those in other languages are built where their
# compilers are, once; kube-rs takes some minutes.
PEERS := .cache/peers

$(PEERS)/.installed: benchmarks/peers.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peers.txt
	touch $@

peers: $(PEERS)/.installed
	! command -v go >/dev/null || go -C benchmarks/peers/controller-runtime build -trimpath -o $(abspath $(PEERS))/controller-runtime .
	! command -v cargo >/dev/null || cargo build --release --locked --quiet --manifest-path benchmarks/peers/kube-rs/Cargo.toml --target-dir $(PEERS)/kube-rs

bench: envtest peers
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q src/neptune
	$(BIN)/python -m benchmarks.storm
	$(BIN)/python -m benchmarks.ingest
	$(BIN)/python -m benchmarks.fairness
	$(BIN)/python -m benchmarks.failing_watch
	$(BIN)/python -m benchmarks.link_bytes
	$(BIN)/python -m benchmarks.link_latency
	$(BIN)/python -m benchmarks.counting
	$(BIN)/python -m benchmarks.agent_budget

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist

# For maintainers: needs `uv`. Moves every pin to the newest release that pyproject.toml allows.
constraints:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --upgrade \
	  --custom-compile-command "make constraints" --all-extras --group dev pyproject.toml -o constraints.txt
