# Every target that needs the environment makes it first. Override the variables on the command line, e.g.
#   make eval STRATEGY=fastv LIMIT=32 ARGS='strategy.k=3'
PYTHON ?= python3
VENV ?= .venv
STRATEGY ?= pdrop
MODEL ?= mini576
SUITE ?= mini
# A folder of the user's own data is a suite by itself.
ASKED = $(if $(findstring data.folder=,$(ARGS)),,suite=$(SUITE))
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
# Cases in the format of tests/golden/README.md.
GOLDENS ?= tests/golden/cases

BIN := $(VENV)/bin
STAMP := $(VENV)/.pdrop-eval-installed
comma := ,
space := $(subst ,, )
# The folder that ARGS names with results=, or this one: what a target runs it also reads there.
records = $(or $(lastword $(patsubst results=%,%,$(filter results=%,$(ARGS)))),$(1))
# A combination in ARGS takes the place of the default strategy; beside one that is given, it is refused.
CHOSEN = $(if $(findstring command,$(origin STRATEGY))$(if $(findstring combine=,$(ARGS)),,default),strategy=$(STRATEGY))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup check test test-slow test-all goldens eval sweep experiment calibrate doctor tables figures show samples page docs screenshots readme budgets shelf qwen benchmarks-doc suite contact-sheets train train-mini train-mini-qwen \
	train-mini576 rank \
	family family-cards recipes findings flops bench-train bench goals families-speed choosing prefix-speed gpu decode-speed startup scaling throughput harness-speed gain fault-injection sweep-faults sweep-equal sweep-scale sweep-gain compare coverage \
	reference matrix fuzz page-speed page-memory constraints clean check-results community site sweep-speed site-scale

# Lines that begin with ##@ are the headings of this list.
help:  ## Show the targets and their variables
	@awk -F ':.*## ' '/^##@ / {print ""; print substr($$0, 5) ":"} \
		/^[a-z0-9-]+:.*## / && !/^help/ {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Variables and their values (make eval STRATEGY=fastv LIMIT=32):"
	@echo "  STRATEGY=$(STRATEGY) MODEL=$(MODEL) SUITE=$(SUITE) LIMIT=$(LIMIT) BATCH_SIZE=$(BATCH_SIZE) ARGS=$(ARGS)"
	@echo "  EXPERIMENT=$(EXPERIMENT) SIZE=$(SIZE) SAMPLE=$(SAMPLE) BASELINE=$(BASELINE) CANDIDATE=$(CANDIDATE)"
	@echo "  TOKENS=$(TOKENS) PICTURES=$(PICTURES) CAPTIONS=$(CAPTIONS) WORKERS=$(WORKERS)"
	@echo "  PYTHON=$(PYTHON) VENV=$(VENV)"

##@ Evaluate, and see the results

eval: $(STAMP)  ## Evaluate STRATEGY, or several: STRATEGY=vanilla,pdrop
	$(BIN)/pdrop-eval $(strip $(if $(findstring $(comma),$(STRATEGY)),-m) $(CHOSEN) model=$(MODEL) \
		$(ASKED) $(if $(LIMIT),limit=$(LIMIT)) $(if $(BATCH_SIZE),batch_size=$(BATCH_SIZE)) $(ARGS))

sweep: $(STAMP)  ## Strategies x budgets x models x tasks: ARGS=sweep=mini
	$(BIN)/pdrop-eval-sweep $(if $(LIMIT),limit=$(LIMIT)) $(ARGS)

experiment: $(STAMP)  ## Run EXPERIMENT: table1 to 5, figure1, 3, 4 or shelf
	$(BIN)/pdrop-eval experiment=$(EXPERIMENT) $(if $(SIZE),size=$(SIZE)) $(if $(LIMIT),limit=$(LIMIT)) \
		$(if $(BATCH_SIZE),batch_size=$(BATCH_SIZE)) $(ARGS)

tables: $(STAMP)  ## Summarize Tables 1 to 5; whole: results/report/tables
	$(BIN)/pdrop-eval-tables $(ARGS)

figures: $(STAMP)  ## Draw Figures 1, 3, 4 from records: results/report/figures
	$(BIN)/pdrop-eval-figures $(ARGS)

show: $(STAMP)  ## Figure 5: what STRATEGY retains of SAMPLE, as a picture
	$(BIN)/pdrop-eval-show sample=$(SAMPLE) $(if $(findstring view=attention,$(ARGS)),,$(CHOSEN)) \
		model=$(MODEL) $(ASKED) $(ARGS)

page: $(STAMP)  ## All results as a page: results/report/page/index.html
	$(BIN)/pdrop-eval-page $(ARGS)

# 0 passed, 1 regressed, 2 could not compare; make itself exits with 2, so the status is printed.
check-results: $(STAMP)  ## Check what is to be shared: results/community
	$(BIN)/pdrop-eval-check-results $(ARGS)

compare: $(STAMP)  ## Does CANDIDATE score as well as BASELINE? LIMIT=64
	@$(if $(findstring command,$(origin STRATEGY)),$(error make compare takes BASELINE and CANDIDATE, not STRATEGY))
	@$(BIN)/pdrop-eval-compare baseline=$(BASELINE) candidate=$(CANDIDATE) model=$(MODEL) $(ASKED) \
		$(if $(LIMIT),limit=$(LIMIT)) $(if $(BATCH_SIZE),batch_size=$(BATCH_SIZE)) $(ARGS) || { status=$$?; \
		case $$status in 1) words=regressed ;; *) words='could not compare' ;; esac; \
		echo "make compare: $$words (exit status $$status of pdrop-eval-compare)" >&2; exit $$status; }

calibrate: $(STAMP)  ## Find what STRATEGY needs for MODEL (vtw, fitprune) or ARGS
	$(BIN)/pdrop-eval-calibrate strategy=$(if $(findstring command,$(origin STRATEGY)),$(STRATEGY),vtw) model=$(MODEL) \
		$(ASKED) $(if $(LIMIT),limit=$(LIMIT)) $(if $(BATCH_SIZE),batch_size=$(BATCH_SIZE)) $(ARGS)

gain: $(STAMP)  ## What do I gain at TOKENS image tokens a layer on MODEL?
	$(BIN)/pdrop-eval-bench model=$(MODEL) budget.tokens=$(TOKENS) batch_sizes=[1] $(ARGS)

doctor: $(STAMP)  ## Check packages, disk, data, checkpoints of MODEL, SUITE
	$(BIN)/pdrop-eval-doctor model=$(MODEL) $(ASKED) $(ARGS)

##@ Train

# A demonstration: two phases on 4,800 rendered pictures, from the miniature that was trained without dropping.
train: $(STAMP)  ## Train the smallest miniature: checkpoints/mini_STRATEGY
	$(BIN)/python -m tools.mini.conversations --out results/training-data/mini --pictures $(PICTURES) \
		--captions $(CAPTIONS) --turns 1-1 --processes 2
	$(BIN)/pdrop-eval-train $(CHOSEN) $(ARGS)

##@ Develop

setup: $(STAMP)  ## Create the environment (the others do it when needed)

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

check: $(STAMP)  ## Lint, types, import layers, documentation; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/mkdocs build --quiet --strict

# One thread each, as many processes compute; a process that has nothing left takes tests from another. Byte code is
# kept whatever the shell says: tests start processes, and each would compile the package again.
PYTEST = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 \
	--dist worksteal

test: $(STAMP)  ## Run the fast tests (ARGS='tests/core -k pdrop': some)
	$(PYTEST) -m 'not (slow or browser or release)' $(ARGS)

test-slow: $(STAMP)  ## Run the others: training, evaluation, browser, wheel
	$(PYTEST) -m '(slow or browser or release) and not whole' $(ARGS)

test-all: $(STAMP)  ## Run both, every family and every case
	$(PYTEST) $(ARGS)

goldens: $(STAMP)  ## Compare with official code, case by case (GOLDENS=folder)
	$(PYTEST) tests/golden --golden-dir $(GOLDENS) $(ARGS)

docs: $(STAMP)  ## The documentation as a site: .cache/docs/index.html
	$(BIN)/mkdocs build --quiet --strict
	@echo "Written: .cache/docs/index.html"

# What is published: the documentation, with the page of what others have shared in results/.
community: $(STAMP)  ## Page of shared results: results/report/community/page
	$(BIN)/pdrop-eval-check-results
	rm -rf results/report/community/runs
	$(BIN)/pdrop-eval-merge 'from=[$(subst $(space),$(comma),$(wildcard results/community/*/))]' \
		into=results/report/community/runs
	$(BIN)/pdrop-eval-page root=results/report/community/runs out=results/report/community/page $(ARGS)

site: export PDROP_EVAL_COMMUNITY = 1
site: docs community  ## Both as one site, as CI publishes it: .cache/site
	rm -rf .cache/site
	mkdir -p .cache/site
	cp -r .cache/docs/. .cache/site
	cp -r results/report/community/page .cache/site/community
	@echo "Written: .cache/site/index.html and .cache/site/community/index.html"

suite: $(STAMP)  ## Render the questions of SUITE=mini
	$(BIN)/python -m pdrop_eval.benchmarks.rendered.suite $(ARGS)

contact-sheets: $(STAMP)  ## Pages with the rendered images and questions, to look at
	$(BIN)/python -m tools.mini.sheets $(ARGS)

clean:  ## Remove build outputs and caches
	rm -rf build dist outputs multirun .hypothesis .pytest_cache .mypy_cache .ruff_cache
	find pdrop_eval tests -name __pycache__ -type d -prune -exec rm -rf {} +

##@ For maintainers: measure, check, and write the files that are committed

readme: $(STAMP)  ## All tables, figures and pages in results/, and the README
	$(BIN)/pdrop-eval-figures out=results/figures $(ARGS)
	$(BIN)/pdrop-eval-tables out=results/tables readme=README.md page=results/README.md $(ARGS)
	$(if $(wildcard $(SHELF)),$(SHELF_TABLE))
	$(if $(wildcard $(BUDGETS)),$(BUDGETS_TABLE))
	$(if $(wildcard $(QWEN)),$(QWEN_TABLE))

# The README's first table has the records that `make rank` compares.
BUDGETS = $(call records,results/rank)
BUDGETS_TABLE = $(BIN)/pdrop-eval-tables table=budgets root=$(BUDGETS) out=results/tables readme=README.md
RANKED = $(BIN)/pdrop-eval experiment=rank $(if $(LIMIT),limit=$(LIMIT)) $(ARGS)
budgets: $(STAMP)  ## Ten strategies at three budgets: results/tables/budgets.md
	@status=0; $(RANKED) || status=$$?; [ $$status -gt 1 ] || $(BUDGETS_TABLE) || status=$$?; exit $$status

rank: $(STAMP)  ## Compare the order of strategies with the published one
	@status=0; $(RANKED) || status=$$?; \
		[ $$status -gt 1 ] || $(BIN)/python -m tools.mini.rank --root $(BUDGETS) || status=$$?; exit $$status
	$(BIN)/python -m tools.mini.cards.member_card --written pdrop_eval/models/checkpoints/mini576

# Runs that failed (status 1) leave rows with the reason, and the table is made all the same.
SHELF = $(call records,results/shelf)
SHELF_TABLE = $(BIN)/pdrop-eval-tables table=shelf root=$(SHELF) out=results/tables readme=README.md
shelf: $(STAMP)  ## All strategies at three budgets: results/tables/shelf.md
	@status=0; $(BIN)/pdrop-eval experiment=shelf $(if $(LIMIT),limit=$(LIMIT)) $(ARGS) || status=$$?; \
		[ $$status -gt 1 ] || $(SHELF_TABLE) || status=$$?; exit $$status

QWEN = $(call records,results/qwen)
QWEN_TABLE = $(BIN)/pdrop-eval-tables table=qwen root=$(QWEN) out=results/tables
qwen: $(STAMP)  ## Six strategies on Qwen2.5-VL: results/tables/qwen.md
	@status=0; $(BIN)/pdrop-eval experiment=qwen $(if $(LIMIT),limit=$(LIMIT)) $(ARGS) || status=$$?; \
		[ $$status -gt 1 ] || $(QWEN_TABLE) || status=$$?; exit $$status

# Every task of the suite, 20 questions each. FitPrune's own script takes the ratio 60.
RECIPES = pdrop_eval/strategies/recipes
recipes: $(STAMP)  ## Calibrate the miniature again: what the package ships
	$(BIN)/pdrop-eval-calibrate strategy=vtw out=$(RECIPES)/vtw/mini576.json again=true $(ARGS)
	@set -e; for ratio in 40 50 60 70 80 90; do $(BIN)/pdrop-eval-calibrate strategy=fitprune ratio=$$ratio \
		out=$(RECIPES)/fitprune/mini576_$$ratio.json again=true $(ARGS); done
	cp $(RECIPES)/fitprune/mini576_60.json $(RECIPES)/fitprune/mini576.json

samples: $(STAMP)  ## Draw Figure 5 and the right of Figure 1: results/figures
	$(BIN)/pdrop-eval-show sample=docvqa:17 strategy=pdrop,fastv out=results/figures name=figure5_mini576
	$(BIN)/pdrop-eval-show sample=docvqa:17 view=attention out=results/figures name=figure1_attention_mini576
	$(BIN)/pdrop-eval-show sample=infovqa:30 strategy=pdrop model=mini576_next_p5 out=results/figures \
		name=figure5_mini576_next_p5

screenshots: $(STAMP)  ## Screenshots of the results page: results/figures
	$(BIN)/python -m tools.release.screenshots $(ARGS)

findings: $(STAMP)  ## The paper's claims: results/training/findings.md
	$(BIN)/python -m pdrop_eval.report.findings.page $(ARGS)

benchmarks-doc: $(STAMP)  ## Write docs/benchmarks.md from the registry of benchmarks
	$(BIN)/python -m tools.release.benchmarks_doc docs/benchmarks.md

family: $(STAMP)  ## Train the missing miniatures, write their model cards
	$(BIN)/python -m tools.mini.family $(ARGS)

family-cards: $(STAMP)  ## Write the miniatures' model cards again
	$(BIN)/python -m tools.mini.cards.member_card $(ARGS)

train-mini: $(STAMP)  ## Train the first miniature from its seed
	$(BIN)/python -m tools.mini.training.train --out $(TRAINING) $(ARGS)
	$(BIN)/python -m tools.mini.cards.card $(TRAINING)

train-mini-qwen: $(STAMP)  ## Train the Qwen2.5-VL miniature from mini
	$(BIN)/python -m tools.mini.training.train --architecture qwen2_5_vl --vision-steps 700 --joint-steps 3000 \
		--guided 0.5 --checkpoint-every 50 --out $(TRAINING)-qwen2_5_vl $(ARGS)
	$(BIN)/python -m tools.mini.cards.card $(TRAINING)-qwen2_5_vl

train-mini576: $(STAMP)  ## Train the start of the miniatures of 576 tokens
	$(BIN)/python -m tools.mini.training.train --architecture llava576 --vision-steps 1600 --joint-steps 2200 \
		--together-steps 1200 --checkpoint-every 100 --out $(TRAINING)-llava576 $(ARGS)
	$(BIN)/python -m tools.mini.cards.card $(TRAINING)-llava576

flops: $(STAMP)  ## FLOPs by formula and counted: results/efficiency/flops.md
	$(BIN)/python -m tools.speed.prefill.flops $(ARGS)

bench: $(STAMP)  ## Time and memory: results/efficiency/bench.md
	$(BIN)/pdrop-eval-bench results=results/bench/page model=mini $(ARGS)
	$(BIN)/pdrop-eval-bench results=results/bench/page model=llava_next_7b sizes.layers=16 sizes.width=384 sizes.intermediate=1032 \
		sizes.heads=6 sizes.vision_layers=4 sizes.vision_width=256 sizes.vision_heads=4 \
		sizes.vision_intermediate=1024 sizes.vocabulary=2000 batch_sizes=[1] rounds=5 warmup=1 $(ARGS)
	$(BIN)/python -m tools.speed.prefill.bench_page --records $(call records,results/bench/page)

goals: $(STAMP)  ## Speed-up against FLOPs: results/efficiency/goals.md
	$(BIN)/python -m tools.speed.prefill.goals $(ARGS)

families-speed: $(STAMP)  ## Families and FLOPs: results/efficiency/families.md
	$(BIN)/python -m tools.speed.prefill.families $(ARGS)

choosing: $(STAMP)  ## What choosing costs: results/efficiency/choosing.md
	$(BIN)/python -m tools.speed.prefill.choosing $(ARGS)

prefix-speed: $(STAMP)  ## One image, many questions: results/efficiency/prefix.md
	$(BIN)/python -m tools.speed.answering.prefix $(ARGS)

gpu: $(STAMP)  ## Three 7B models on one GPU: results/efficiency/gpu.md
	$(BIN)/python -m tools.speed.gpu $(ARGS)

decode-speed: $(STAMP)  ## Decode steps after drops: results/efficiency/decode.md
	$(BIN)/python -m tools.speed.prefill.decode $(ARGS)

startup: $(STAMP)  ## Processor time of starting: results/efficiency/startup.md
	$(BIN)/python -m tools.speed.answering.startup $(ARGS)

scaling: $(STAMP)  ## Growth with image tokens: results/efficiency/scaling.md
	$(BIN)/python -m tools.speed.prefill.scaling $(ARGS)

throughput: $(STAMP)  ## Questions a second: results/efficiency/throughput.md
	$(BIN)/python -m tools.speed.answering.throughput $(ARGS)
	$(BIN)/python -m tools.speed.answering.throughput --rounds 2 --out results/efficiency/throughput_next.json \
		model=mini_next_p5 tasks=[docvqa_val] limit=40 $(ARGS)

harness-speed: $(STAMP)  ## Harness beyond the model: results/efficiency/harness.md
	$(BIN)/python -m tools.speed.answering.harness $(ARGS)

bench-train: $(STAMP)  ## Time of training steps: results/training/speed.md
	$(BIN)/python -m tools.speed.training $(ARGS)

coverage: $(STAMP)  ## Coverage of the intervals: results/compare/coverage.md
	$(BIN)/python -m tools.statistics.coverage $(ARGS)

reference: $(STAMP)  ## Regression baselines (ARGS=--check compares with them)
	$(BIN)/python -m tools.mini.reference $(ARGS)

matrix: $(STAMP)  ## Oldest and newest packages: results/reference/matrix.md
	$(BIN)/python -m tools.release.matrix $(ARGS)

fault-injection: $(STAMP)  ## Inject faults, such as kills: results/fault_injection.md
	$(BIN)/python -m tools.robustness.fault_injection $(ARGS)

sweep-faults: $(STAMP)  ## Kill parts of sweeps on Ray: results/sweep_faults.md
	$(BIN)/python -m tools.robustness.sweep_faults $(ARGS)

sweep-equal: $(STAMP)  ## A sweep on two engines: results/sweep_equal.md
	$(BIN)/python -m tools.robustness.sweep_equal $(ARGS)

fuzz: $(STAMP)  ## Corrupt records, samples, settings and checkpoints
	$(BIN)/python -m tools.robustness.fuzz $(ARGS)

sweep-scale: $(STAMP)  ## Plan and status of 100,000 cells: results/sweep_scale.md
	$(BIN)/python -m tools.speed.reports.sweep_scale $(ARGS)

sweep-gain: $(STAMP)  ## Sweep or single commands: results/efficiency/sweep.md
	$(BIN)/python -m tools.speed.answering.sweep_gain $(ARGS)

page-speed: $(STAMP)  ## Speed of the results page: results/page_speed.md
	$(BIN)/python -m tools.speed.reports.page $(ARGS)

sweep-speed: $(STAMP)  ## Table of 100,000 cells: results/sweep_speed.md
	$(BIN)/python -m tools.speed.reports.large_sweep $(ARGS)

site-scale: $(STAMP)  ## Figures and page of 5,000 records: results/site_scale.md
	$(BIN)/python -m tools.speed.reports.site_scale $(ARGS)

page-memory: $(STAMP)  ## Memory of making the page: results/page_memory.md
	$(BIN)/python -m tools.speed.reports.page_memory $(ARGS)

constraints: $(STAMP)  ## Resolve constraints.txt again
	printf 'uv\n' | $(BIN)/uv pip compile --quiet --upgrade --universal --prerelease disallow --python-version 3.10 --extra dev \
		--extra train --no-header --no-annotate pyproject.toml - -o constraints.txt
