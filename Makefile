# make demo   convert, time and run Lite0 in int8, with what is in the lock and nothing else
# make test   every test, on two workers of 3 GB each (WORKERS=1: on one); the real weights and
#             photographs join where EDGENET_DATA or ../shared is
# make check  linter, formatter, types, import layers
# make lock   resolve requirements.lock from pyproject.toml (UPGRADE=--upgrade: the newest of all)

PYTHON  ?= python3
WORKERS ?= 2
VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/stamp
DEMO    := demo/lite0-int8

.PHONY: demo test check format lock wheel clean
.DELETE_ON_ERROR:

demo: $(STAMP)
	$(BIN)/edgenet convert lite0 --int8 -o $(DEMO)
	$(BIN)/edgenet bench $(DEMO)
	$(BIN)/edgenet run $(DEMO) "$$($(BIN)/python -c 'import skimage; print(skimage.data_dir)')/chelsea.png"

# A file stays with one worker, for its fixtures; tests/conftest.py hands out the long files first.
test: $(STAMP)
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

check: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Resolved for the lowest Python on purpose: markers carry newer ones to newer releases.
lock: $(STAMP)
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.10 \
		--extra all --extra test --extra benchmarks --generate-hashes --no-emit-index-url \
		--custom-compile-command "make lock" --quiet $(UPGRADE) --output-file requirements.lock

wheel: $(STAMP)
	rm -rf dist
	$(BIN)/uv build --quiet --wheel --out-dir dist

clean:
	rm -rf $(VENV) demo dist

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "converting needs Python 3.10 to 3.13: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo "this Python has no venv module: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements.lock)"
	$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@
