# `make demo`, `make test`, `make check`: each sets up what it needs, once, in .venv.
SHELL := bash
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
JS_TOOLS := tests/js/node_modules/.installed

PYTHON ?=              # a Python 3.10 to 3.12; found when not given
PIP_ARGS ?=            # e.g. --extra-index-url https://download.pytorch.org/whl/cpu
PYTEST_ARGS ?= -n 2 --dist loadfile  # two processes; a file's tests share what they made

.PHONY: help demo test check page format
help:
	@echo "make demo    the whole path on one photo: avatar, preview, video"
	@echo "make test    the tests"
	@echo "make check   format, lint, types, import rule"
	@echo "make page    the viewer's page: types, tests, and that the built one is current (npm)"
	@echo "make format  apply format and lint fixes"

demo: $(INSTALLED)
	$(BIN)/avatar3d demo

test: $(INSTALLED) $(JS_TOOLS)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# Without npm the page that is committed is what there is.
page:
	@if ! command -v npm >/dev/null; then echo "note: no npm here, so the page is not rebuilt"; exit 0; fi; \
	cd viewer/web && npm ci --silent --no-audit --no-fund && npm run --silent types && \
	npm run --silent test -- --silent && cp dist/index.html "$${TMPDIR:-/tmp}/index.$$$$.html" && \
	npm run --silent build && cmp "$${TMPDIR:-/tmp}/index.$$$$.html" dist/index.html; status=$$?; \
	rm -f "$${TMPDIR:-/tmp}/index.$$$$.html"; \
	if [ $$status != 0 ]; then echo "error: the viewer's page fails its checks, or viewer/web/dist/index.html" \
		"was stale; it is rebuilt now: commit it" >&2; exit 1; fi

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) \
		-c constraints.txt -e '.[recon,audio,viewer,bench,dev]'
	@# opencv, which mediapipe brings, needs two libraries that bare Debian and Ubuntu lack.
	@if ! $(BIN)/python -c "import cv2" 2>/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -qq && apt-get install -y -qq --no-install-recommends libgl1 libglib2.0-0; \
		else \
			echo "error: opencv cannot be imported; install its libraries with:" \
				"sudo apt-get install libgl1 libglib2.0-0" >&2; exit 1; \
		fi; \
		$(BIN)/python -c "import cv2"; \
	fi
	@# espeak-ng speaks for `speak --text` and trains voice to expression; tests that need it skip.
	@if ! command -v espeak-ng >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends espeak-ng || true; \
	fi
	@# The viewer's tests drive a real browser; they skip, saying so, where none can be had.
	@if ! command -v chromium >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null || true; \
	fi
	@touch $@

# Third-party readers that exported files are held against; tests that need them skip without npm.
$(JS_TOOLS): tests/js/package-lock.json
	@if command -v npm >/dev/null; then \
		npm ci --prefix tests/js --omit=peer --ignore-scripts --no-audit --no-fund --loglevel=error \
			&& touch $@; \
	fi

$(BIN)/python:
	@for python in $(PYTHON) python3.11 python3.12 python3.10 python3; do \
		if $$python -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' \
			2>/dev/null; then exec $$python -m venv $(VENV); fi; \
	done; \
	echo "error: no Python 3.10, 3.11 or 3.12 with venv was found; install one" \
		"(Debian, Ubuntu: apt-get install python3-venv) or name it: make $(MAKECMDGOALS) PYTHON=..." >&2; \
	exit 1
