# Every target that needs the environment makes it first. Override the variables on the command line, e.g.
#   make eval STRATEGY=fastv LIMIT=32 ARGS='strategy.k=3'
PYTHON ?= python3
VENV ?= .venv
STRATEGY ?= pdrop
MODEL ?= mini
SUITE ?= mini
EXPERIMENT ?= table5
SIZE ?=
LIMIT ?=
BATCH_SIZE ?=
ARGS ?=
TRAINING ?= results/mini-training
TOKENS ?= 64
SAMPLE ?= docvqa:17
PICTURES ?= 4000
CAPTIONS ?= 800
# Processes of the tests: as many as there are processors, 8 at most (each takes about 1.5 GB of memory).
WORKERS ?= logical
BASELINE ?= vanilla
CANDIDATE ?= pdrop

BIN := $(VENV)/bin
STAMP := $(VENV)/.pdrop-eval-installed
comma := ,

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup check test test-slow test-all eval experiment doctor tables figures show samples page docs screenshots readme benchmarks-doc suite contact-sheets train train-mini \
	family family-cards findings flops bench-train bench goals scaling throughput gain torture compare coverage \
	reference matrix fuzz page-speed constraints clean

help:  ## Show the targets and their variables
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  Variables: STRATEGY=$(STRATEGY) MODEL=$(MODEL) SUITE=$(SUITE) LIMIT=$(LIMIT) BATCH_SIZE=$(BATCH_SIZE) ARGS=$(ARGS)"
	@echo "             EXPERIMENT=$(EXPERIMENT) SIZE=$(SIZE) SAMPLE=$(SAMPLE) BASELINE=$(BASELINE) CANDIDATE=$(CANDIDATE)"
	@echo "             TOKENS=$(TOKENS) PICTURES=$(PICTURES) CAPTIONS=$(CAPTIONS) WORKERS=$(WORKERS)"
	@echo "             PYTHON=$(PYTHON) VENV=$(VENV)"

setup: $(STAMP)  ## Make the environment (the other targets do it when needed)

# uv, not pip, installs: it takes PyTorch and torchvision as the pair that the constraints name, whatever
# wheels pip's own settings would prefer on this machine. It doesn't compile unless told to, and then every first
# import is twice as slow.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "error: pdrop-eval needs Python 3.10 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
		echo "Name another one: make setup PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	@echo "Installing PyTorch and the other packages into $(VENV) (about 6 GB; a minute or more the first time)"
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev,train]'
	@touch $@

check: $(STAMP)  ## Lint, formatting, types, the layers of imports and the documentation (changes nothing)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/mkdocs build --quiet --strict

docs: $(STAMP)  ## The documentation as a site, with the reference of the library: .cache/docs/index.html
	$(BIN)/mkdocs build --quiet --strict
	@echo "Written: .cache/docs/index.html"

# One thread each, as many processes compute; a process that has nothing left takes tests from another.
PYTEST = OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 \
	--dist worksteal

test: $(STAMP)  ## Run the fast tests, before a commit (ARGS='tests/core -k pdrop' some of them, WORKERS=0 in one process)
	$(PYTEST) -m 'not (slow or browser or release)' $(ARGS)

test-slow: $(STAMP)  ## Run the other tests: trainings, whole evaluations, other processes, the browser, the wheel
	$(PYTEST) -m 'slow or browser or release' $(ARGS)

test-all: $(STAMP)  ## Run both
	$(PYTEST) $(ARGS)

eval: $(STAMP)  ## Evaluate STRATEGY (or several: STRATEGY=vanilla,fastv,pdrop) on MODEL and SUITE
	$(BIN)/pdrop-eval $(strip $(if $(findstring $(comma),$(STRATEGY)),-m) strategy=$(STRATEGY) model=$(MODEL) \
		suite=$(SUITE) $(if $(LIMIT),limit=$(LIMIT)) $(if $(BATCH_SIZE),batch_size=$(BATCH_SIZE)) $(ARGS))

experiment: $(STAMP)  ## Run what a table or figure needs: EXPERIMENT=table1 to table5, figure1, 3 or 4, SIZE=mini or 7b
	$(BIN)/pdrop-eval experiment=$(EXPERIMENT) $(if $(SIZE),size=$(SIZE)) $(if $(LIMIT),limit=$(LIMIT)) \
		$(if $(BATCH_SIZE),batch_size=$(BATCH_SIZE)) $(ARGS)

# 0 passed, 1 regressed, 2 could not compare; make itself always leaves with 2, so the status is said aloud.
compare: $(STAMP)  ## Does CANDIDATE keep what BASELINE scores? With intervals, on LIMIT questions a benchmark
	@$(if $(findstring command,$(origin STRATEGY)),$(error make compare takes BASELINE and CANDIDATE, not STRATEGY))
	@$(BIN)/pdrop-eval-compare baseline=$(BASELINE) candidate=$(CANDIDATE) model=$(MODEL) suite=$(SUITE) \
		$(if $(LIMIT),limit=$(LIMIT)) $(if $(BATCH_SIZE),batch_size=$(BATCH_SIZE)) $(ARGS) || { status=$$?; \
		case $$status in 1) words=regressed ;; *) words='could not compare' ;; esac; \
		echo "make compare: $$words (exit status $$status of pdrop-eval-compare)" >&2; exit $$status; }

doctor: $(STAMP)  ## Check that everything is there for MODEL and SUITE: packages, disk, data, checkpoints
	$(BIN)/pdrop-eval-doctor model=$(MODEL) suite=$(SUITE) $(ARGS)

tables: $(STAMP)  ## Print Tables 1 to 5 and the overview of results/runs, write them to results/tables
	$(BIN)/pdrop-eval-tables $(ARGS)

figures: $(STAMP)  ## Draw Figures 1, 3 and 4 of results/runs again, into results/figures (runs nothing)
	$(BIN)/pdrop-eval-figures $(ARGS)

show: $(STAMP)  ## Figure 5: what STRATEGY (or several) retains of SAMPLE, on its picture: results/show
	$(BIN)/pdrop-eval-show sample=$(SAMPLE) $(if $(findstring view=attention,$(ARGS)),,strategy=$(STRATEGY)) \
		model=$(MODEL) suite=$(SUITE) $(ARGS)

samples: $(STAMP)  ## Figure 5 and the right of Figure 1 of the miniatures, as results/figures has them
	$(BIN)/pdrop-eval-show sample=docvqa:17 strategy=pdrop,fastv out=results/figures name=figure5_mini
	$(BIN)/pdrop-eval-show sample=docvqa:17 view=attention out=results/figures name=figure1_attention_mini
	$(BIN)/pdrop-eval-show sample=infovqa:30 strategy=pdrop model=mini_next_p5 out=results/figures \
		name=figure5_mini_next_p5

page: $(STAMP)  ## All results as a page to click through, which opens from disk: results/page/index.html
	$(BIN)/pdrop-eval-page $(ARGS)

screenshots: $(STAMP)  ## Pictures of results/page for the documentation, into results/figures (needs Chromium)
	$(BIN)/python -m tools.release.screenshots $(ARGS)

readme: $(STAMP)  ## As tables, also into the README; all results and findings into results/README.md
	$(BIN)/pdrop-eval-tables readme=README.md page=results/README.md $(ARGS)

findings: $(STAMP)  ## What training with PDrop changed, by the records: results/training/findings.md
	$(BIN)/python -m pdrop_eval.report.findings.page $(ARGS)

benchmarks-doc: $(STAMP)  ## Write docs/benchmarks.md from the registry of benchmarks
	$(BIN)/python -m tools.release.benchmarks_doc docs/benchmarks.md

suite: $(STAMP)  ## Render the embedded suite (eval does it when needed)
	$(BIN)/python -m pdrop_eval.benchmarks.rendered.suite $(ARGS)

contact-sheets: $(STAMP)  ## Pages with pictures and questions of the embedded suite, for a person to look at
	$(BIN)/python -m tools.mini.sheets $(ARGS)

# A demonstration: two phases on 4,800 rendered pictures, from the miniature that was trained without dropping.
train: $(STAMP)  ## Train the miniature with STRATEGY for a few minutes (on PICTURES), into checkpoints/mini_STRATEGY
	$(BIN)/python -m tools.mini.conversations --out results/training-data/mini --pictures $(PICTURES) \
		--captions $(CAPTIONS) --turns 1-1 --processes 2
	$(BIN)/pdrop-eval-train model.pretrained=embedded:mini_base strategy=$(STRATEGY) $(ARGS)

family: $(STAMP)  ## Train the miniatures that are missing (ARGS names some), and write their model cards
	$(BIN)/python -m tools.mini.family $(ARGS)

family-cards: $(STAMP)  ## Write the miniatures' model cards again, from their trainings and evaluations
	$(BIN)/python -m tools.mini.member_card $(ARGS)

flops: $(STAMP)  ## FLOPs by formula, of the whole model and counted: results/efficiency/flops.md
	$(BIN)/python -m tools.speed.flops $(ARGS)

bench-train: $(STAMP)  ## Time training steps with and without dropping: results/training/speed.md
	$(BIN)/python -m tools.speed.training $(ARGS)

bench: $(STAMP)  ## Time and memory with and without dropping, at two small sizes: results/efficiency/bench.md
	$(BIN)/pdrop-eval-bench results=results/bench/page $(ARGS)
	$(BIN)/pdrop-eval-bench results=results/bench/page model=llava_next_7b sizes.layers=16 sizes.width=384 sizes.intermediate=1032 \
		sizes.heads=6 sizes.vision_layers=4 sizes.vision_width=256 sizes.vision_heads=4 \
		sizes.vision_intermediate=1024 sizes.vocabulary=2000 batch_sizes=[1] rounds=5 warmup=1 $(ARGS)
	$(BIN)/python -m pdrop_eval.report.bench.page

goals: $(STAMP)  ## Is dropping as fast as its FLOPs promise? results/efficiency/goals.md
	$(BIN)/python -m pdrop_eval.report.bench.goals $(ARGS)

scaling: $(STAMP)  ## Time and memory from 576 to 5,184 image tokens: results/efficiency/scaling.md
	$(BIN)/python -m pdrop_eval.report.bench.scaling $(ARGS)

throughput: $(STAMP)  ## Questions a second, beside stock lmms-eval: results/efficiency/throughput.md
	$(BIN)/python -m tools.speed.throughput $(ARGS)
	$(BIN)/python -m tools.speed.throughput --rounds 2 --out results/efficiency/throughput_next.json \
		model=mini_next_p5 tasks=[docvqa_val] limit=40 $(ARGS)

gain: $(STAMP)  ## What do I gain at TOKENS image tokens a layer on MODEL?
	$(BIN)/pdrop-eval-bench model=$(MODEL) budget.tokens=$(TOKENS) batch_sizes=[1] $(ARGS)

coverage: $(STAMP)  ## How often the intervals of compare hold the truth, by simulation: results/compare/coverage.md
	$(BIN)/python -m tools.statistics.coverage $(ARGS)

reference: $(STAMP)  ## Write the regression baselines of the embedded model (ARGS=--check compares, to the last token)
	$(BIN)/python -m tools.mini.reference $(ARGS)

matrix: $(STAMP)  ## Test with the oldest and the newest supported transformers and lmms-eval: results/reference/matrix.md
	$(BIN)/python -m tools.release.matrix $(ARGS)

torture: $(STAMP)  ## Kill evaluations, sweeps and table builds, fill the disk: is anything lost? results/torture.md
	$(BIN)/python -m tools.robustness.torture $(ARGS)

page-speed: $(STAMP)  ## How fast the results page opens with 200 runs and 20,000 samples: results/page_speed.md
	$(BIN)/python -m tools.speed.page $(ARGS)

fuzz: $(STAMP)  ## Damage records, samples, settings and checkpoints at random: is each refused in words? (ARGS="--cases 200")
	$(BIN)/python -m tools.robustness.fuzz $(ARGS)

train-mini: $(STAMP)  ## Train the start of all miniatures again, from its seed, and write its model card
	$(BIN)/python -m tools.mini.training.train --out $(TRAINING) $(ARGS)
	$(BIN)/python -m tools.mini.card $(TRAINING)

constraints: $(STAMP)  ## Resolve constraints.txt again (for maintainers)
	printf 'uv\n' | $(BIN)/uv pip compile --quiet --upgrade --universal --prerelease disallow --python-version 3.10 --extra dev \
		--extra train --no-header --no-annotate pyproject.toml - -o constraints.txt

clean:  ## Remove build outputs and caches (keeps the environment and the results)
	rm -rf build dist outputs multirun .hypothesis .pytest_cache .mypy_cache .ruff_cache
	find pdrop_eval tests -name __pycache__ -type d -prune -exec rm -rf {} +
