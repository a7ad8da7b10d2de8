# make demo: set up, then the main job on a private Tor network. make test: set up, then all tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# stem and pure-cdb come as source; no Python after 3.11 brings what builds them, and pure-cdb is to do without a compiler.
BUILD_TOOLS := pip setuptools wheel hatchling editables

.PHONY: help setup debian browser demo test coverage test-installed lint docs audit acceptance bench deb image release clean

help:
	@echo "make demo    set up and run the main job on a private Tor network"
	@echo "make test    set up and run all tests"
	@echo "make coverage  run the unit tests, and show how much of the code they run"
	@echo "make test-installed  the same with the wheel installed instead of the source"
	@echo "make lint    ruff and mypy"
	@echo "make docs    the documents as a site, in build/docs/site/; a broken link fails"
	@echo "make audit   known vulnerabilities in the packages that are installed"
	@echo "make acceptance  boot Debian 12, 13 and testing, set them up by the documents and by onionmx setup (root)"
	@echo "make bench   speed, side by side with the peers"
	@echo "make deb     build the Debian package for this release, in dist/"
	@echo "make image   build the container image localhost/onionmx:VERSION, as an ordinary user (docs/pod.md)"
	@echo "make release VERSION=x.y.z KEY=ssh-key  commit, tag, files, sums and signature; DRY=1 builds only"
	@echo "make clean   remove what the set-up made in this folder"

setup: debian $(VENV)/.installed

debian:
	@PYTHON="$(PYTHON)" tests/setup_debian.sh

# Only for the tests, as it is large.
browser: debian
	@tests/setup_debian.sh browser

$(VENV)/.installed: pyproject.toml constraints.txt $(wildcard programs/*) | debian
	@echo "setting up the Python packages in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "onionmx needs Python 3.11 or newer")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -qq --disable-pip-version-check --constraint constraints.txt --upgrade $(BUILD_TOOLS)
	@ENABLE_DJB_HASH_CEXT=0 $(BIN)/pip install -qq --disable-pip-version-check --constraint constraints.txt \
	    --no-build-isolation --editable '.[test,lint]'
	@touch $@

demo: setup
	@$(BIN)/python -m tests.e2e.demo

test: setup browser
	@$(BIN)/python -m pytest -n 3

# Unit tests, and what tests onionmx publish and onionmx onion, with real name servers and tor.
MEASURED := -n 2 -k "not e2e or test_publish.py or test_publish_refused.py \
    or test_onion.py or test_onion_control.py or test_onion_debian.py or test_watch.py"

coverage: setup
	@$(BIN)/python -m tests.coverage_by_room $(MEASURED)

test-installed: setup
	@tests/installed.sh -m tests.coverage_by_room $(MEASURED)

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

# A copy of the pages with their folders, so that the links between them hold.
docs: $(VENV)/.docs
	@rm -rf build/docs && mkdir -p build/docs/pages
	@cp --parents *.md docs/*.md docs/*.json docs/*.png exim/*.md tests/e2e/*.md build/docs/pages
	@cp release/site/index.md build/docs/pages
	@$(BIN)/sphinx-build -q -W --keep-going -n -c release/site -d build/docs/read build/docs/pages build/docs/site
	@! grep -rE '<(script|link|img|iframe)[^>]* (src|href)="(https?:)?//' build/docs/site --include='*.html'
	@echo "done: build/docs/site/index.html"

$(VENV)/.docs: $(VENV)/.installed
	@$(BIN)/pip install -qq --disable-pip-version-check --constraint constraints.txt --only-binary :all: \
	    --no-build-isolation --editable '.[docs]'
	@touch $@

audit: setup
	@$(BIN)/python -m release.audit --pip-audit $(VENV)/audit

acceptance: setup
	@ATTACK_SECONDS=$(ATTACK_SECONDS) $(BIN)/python -m tests.acceptance --releases="$(RELEASES)" --mtas="$(MTAS)" --suites="$(SUITES)" $(PARTS)

bench: setup
	@$(BIN)/python -m tests.bench

deb:
	@deploy/debian/build.sh

image:
	@deploy/image/build.sh

release: setup
	@$(BIN)/python -m release "$(VERSION)" $(if $(KEY),--key "$(KEY)") $(if $(DRY),--dry-run)

clean:
	rm -rf build dist $(VENV) .debian .hypothesis .mypy_cache .pytest_cache .ruff_cache
