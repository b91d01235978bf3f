# The commands of this project. CI calls `make check`; nothing else needs to be known to build it.
#
# A fresh machine needs Python >= 3.11 and make. The first target fetches what it needs (uv into .tools,
# the workspace and its tools into .venv); later runs work without network until a pyproject.toml or
# requirements/constraints.txt changes.
#
#   make test PYTHON=python3.12            another Python, in an environment of its own
#   make test TESTS=packages/core/tests    some tests; FLAGS='-x -k sleep' for pytest's options
#   make bench W=W2 DB=sqlite              one workload; without W all of them
#   make sim SEED=7 N=1                    one simulated schedule; without N two minutes of them
#   make soak MINUTES=20                   kills, stalls, outages and full disks for so long
#   make mutants M=fence                   faults in the engine, one at a time; without M all of them

PYTHON ?= python3
TESTS ?=
FLAGS ?= -n 2
UV_VERSION := 0.13.8

version = $(shell $(1) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
VERSION := $(call version,$(PYTHON))
VENV := $(if $(filter $(VERSION),$(call version,python3)),.venv,.venv-$(VERSION))
BIN := $(VENV)/bin
UV := .tools/uv-$(UV_VERSION)/bin/uv
READY := $(VENV)/.ready
WORKER := packages/dispatcher-cloudflare/worker
WORKERD := $(WORKER)/node_modules/.ready
PROJECTS := pyproject.toml $(wildcard packages/*/pyproject.toml)
PINS := requirements/constraints.txt
EDITABLE := -e packages/core[postgres,http,client,speedups] -e packages/dispatcher-node[apscheduler] \
	-e packages/dispatcher-cloudflare -e packages/testing

export UV_NO_PROGRESS := 1

.PHONY: setup fmt lint types arch test test-versions sim bench soak mutants api docs demo check pins clean

setup: $(READY)

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "keepstep needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv .tools/uv-$(UV_VERSION)
	.tools/uv-$(UV_VERSION)/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(VENV)/pyvenv.cfg: | $(UV)
	$(UV) venv --quiet --clear --no-python-downloads --python $(PYTHON) $(VENV)

$(READY): $(VENV)/pyvenv.cfg $(PROJECTS) $(PINS)
	$(UV) pip install --quiet --python $(VENV) --constraint $(PINS) --group dev $(EDITABLE)
	@touch $@

# workerd, for the tests of the Worker. Without npm those tests fail and say what to install; the others run.
$(WORKERD): $(WORKER)/package-lock.json
	@if command -v npm >/dev/null; then npm ci --prefix $(WORKER) --silent && touch $@; fi

fmt: $(READY)
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

# A checker that finds no file has no complaint either: it must say that it read some.
types: $(READY)
	@told="$$($(BIN)/basedpyright --pythonpath $(BIN)/python --stats)"; status=$$?; printf '%s\n' "$$told"; \
		printf '%s\n' "$$told" | grep -q '^Total files checked: [1-9]' && exit $$status

arch: $(READY)
	$(BIN)/lint-imports --no-logo

test: $(READY) $(WORKERD)
	$(BIN)/pytest $(FLAGS) $(TESTS)

# The workflow loop leans on asyncio's internals: its tests run on every Python that is found here.
test-versions: $(READY)
	scripts/test-versions $(UV) packages/core/tests/loop

# Two minutes of simulated schedules; SEED=1 N=1000 for these seeds, FLAGS=--trace to see one, FLAGS=--exhaustive.
SECONDS ?= 120
sim: FLAGS =
sim: $(READY)
	$(BIN)/python -m keepstep_testing sim --seed $(or $(SEED),1) $(if $(N),--n $(N),--seconds $(SECONDS)) $(FLAGS)

# W1 to W11 beside the disk's limit and other engines (bench/README.md); W=W2 DB=sqlite PEERS=no for a part.
bench: FLAGS =
bench: $(READY)
	$(BIN)/python -m bench --workload '$(W)' --database '$(DB)' --peers $(or $(PEERS),yes) $(FLAGS)

# Faults on real processes for so many minutes (soak/README.md); SEED=n for another order of them.
MINUTES ?= 5
soak: $(READY)
	$(BIN)/python -m soak --minutes $(MINUTES) --seed $(or $(SEED),1)

# Faults in the engine, one at a time, and what notices them (mutants/README.md); AUTO=100 for automatic ones.
mutants: $(READY)
	$(BIN)/python -m mutants --mutant '$(M)' --seconds $(or $(SECONDS),60) --auto $(or $(AUTO),0)

# tests/public_api.txt, anew.
api: $(READY)
	$(BIN)/python tests/test_public_api.py

docs: $(READY)
	$(BIN)/zensical build --clean --strict

demo: $(READY)
	$(BIN)/python -m examples.demo

check: lint types arch test test-versions

# requirements/constraints.txt, anew; `make pins FLAGS=--upgrade` takes newer releases.
pins: FLAGS =
pins: $(UV)
	$(UV) pip compile --quiet --universal --python-version 3.11 --all-extras --group pyproject.toml:dev $(FLAGS) \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links \
		$(foreach name,keepstep keepstep-dispatcher-node keepstep-dispatcher-cloudflare keepstep-testing,--no-emit-package $(name)) \
		--output-file $(PINS) $(filter packages/%,$(PROJECTS))

clean:
	rm -rf .tools .venv .venv-* .cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis site $(WORKER)/node_modules
