# Each target sets up what it needs; nothing but Python 3.11 or newer and make is assumed.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test test-vllm check bench bench-clients bench-judge bench-search bench-bisect bench-history
.PHONY: docs reference clean

demo: $(VENV)/.ready  ## a real engine, an SLO, a baseline, and a build that fails for a real reason
	@$(BIN)/python examples/demo.py

# Most of the time a test waits, so that three share two cores well.
test: check  ## lint, types, tests; those that measure have the machine to themselves
	$(BIN)/python -m pytest -n 3 --dist worksteal tests -m 'not alone'
	$(BIN)/python -m pytest tests/acceptance -m alone

test-vllm: $(VENV)/.ready  ## the same with real vLLM on the CPU; the first time it installs two of them (docs/engines.md)
	$(BIN)/python -m pytest tests/vllm

check: $(VENV)/.ready
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

bench: $(VENV)/.ready  ## what the plugin costs a test run that does not use it
	$(BIN)/python bench/idle_cost.py

bench-clients: $(VENV)/.ready  ## how far load-generating clients distort what they measure (docs/clients.md)
	$(BIN)/python -m bench.clients.run

bench-judge: $(VENV)/.ready  ## how often judges of performance are wrong, ours and others (docs/judging.md)
	$(BIN)/python -m bench.judge.run --out .bench-judge

bench-search: $(VENV)/.ready  ## how right the search for a capacity is, beside a linear sweep (docs/sweeps.md)
	$(BIN)/python -m bench.search.run --out .bench-search

bench-bisect: $(VENV)/.ready  ## how often bisections of noisy histories are right, ours and others (docs/bisect-method.md)
	$(BIN)/python -m bench.bisect.run --out .bench-bisect

docs: $(VENV)/.docs-ready  ## this documentation as a site, in .docs/index.html; a link that leads nowhere is an error
	$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --quiet docs .docs

reference: $(VENV)/.ready  ## the tables of the documentation that are made from the code, anew
	$(BIN)/python -m docs.reference

$(VENV)/.docs-ready: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

bench-history: $(VENV)/.ready  ## how often changes in a history are found, and made up (docs/history.md)
	$(BIN)/python -m bench.history.run

$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .demo .docs .bench-judge .bench-search .bench-bisect
