# Every target sets up what it needs in .venv by itself; only Python (3.11 or newer) and make have to be there.
PYTHON ?= python3
VENV := .venv
NEWER := .venv-newer
OPENAI2 := .venv-openai2
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

# One CPU thread for each library: the models in the tests are tiny, and threads that wait for each other cost more
# than they bring. No test asks a model hub.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false
export HF_HUB_OFFLINE ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-newer test-openai2 lint format bench docs demo-guard clean

help: ## this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.pip: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	touch $@

$(VENV)/.run: $(VENV)/.pip pyproject.toml
	$(PIP) torch
	$(PIP) --editable ".[langchain,llama-index,transformers,eval]"
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) --group dev
	touch $@

demo: $(VENV)/.run ## a guarded LangChain chain, in the terminal, with nothing downloaded but packages
	@$(BIN)/qwen3guard demo

test: $(VENV)/.dev ## the tests
	$(BIN)/python -m pytest $(ARGS)

$(NEWER)/.dev: pyproject.toml
	$(PYTHON) -m venv $(NEWER)
	$(NEWER)/bin/pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(NEWER)/bin/pip install --quiet --disable-pip-version-check --editable ".[langchain,llama-index,transformers,eval]" \
		--group dev "langchain>=1.5" "langchain-core>=1.8" "$$(grep '^torch==' constraints.txt)"
	touch $@

test-newer: $(NEWER)/.dev ## the LangChain tests with LangChain 1.5 and langchain-core 1.8 or newer
	$(NEWER)/bin/python -m pytest tests/langchain docs/agents.md docs/langchain.md docs/streaming.md $(ARGS)

$(OPENAI2)/.dev: pyproject.toml
	$(PYTHON) -m venv $(OPENAI2)
	$(OPENAI2)/bin/pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(OPENAI2)/bin/pip install --quiet --disable-pip-version-check --editable ".[langchain,llama-index,transformers,eval]" \
		--group dev llama-index-llms-openai "openai<3" "$$(grep '^torch==' constraints.txt)"
	touch $@

test-openai2: $(OPENAI2)/.dev ## the tests of guards on servers with openai 2, beside LlamaIndex's OpenAI LLM
	$(OPENAI2)/bin/python -m pytest tests/guards/test_openai*.py tests/guards/test_llama_guard.py \
		tests/guards/test_moderation.py tests/guards/test_load.py tests/evaluation/test_runner_servers.py \
		tests/llama_index/test_openai_llm.py $(ARGS)

lint: $(VENV)/.dev ## style and strict types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev ## put the code into its standard form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev ## the benchmarks, each side by side with its baseline
	@for script in bench/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script $(ARGS) || exit 1; done

docs: $(VENV)/.dev ## the documentation as a web site in site/
	$(PIP) --group docs
	$(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

demo-guard: $(VENV)/.dev ## train the demo guards anew and write their model card (about half an hour)
	$(BIN)/python -m tools.demo_guard

clean: ## remove what the targets made
	rm -rf $(VENV) $(NEWER) $(OPENAI2) site dist build .mypy_cache .ruff_cache
