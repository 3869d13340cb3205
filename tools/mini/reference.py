"""Regression baselines: what the embedded models answer, and which image tokens it retains, to the last one.

    python -m tools.mini.reference            # measure, and write results/reference
    python -m tools.mini.reference --check    # measure, and compare with what is written there
    python -m tools.mini.reference --check mini_pdrop

A few questions of each of the sixteen benchmarks, in float32 on the CPU, one at a time. Nothing may differ:
not an answer, a retained token or a score. What changes them on purpose writes them anew, and the difference
shows in the commit. Exits with 0, with 1 if something differs, with 2 for wrong input.
"""

import argparse
import contextlib
import io
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.utils.code import provenance
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import write_atomically
from pdrop_eval.utils.validation import check_choice
from tools.mini.reference_file import SCHEMA, differences, other_versions, read, spans, to_text

FOLDER = Path("results/reference")
QUESTIONS = {"mini": 4, "mini_next_p5": 2, "mini576": 2}  # of each benchmark; even, for MME's pairs
# One question at a time: what else is in a batch can't move a sum by its last bit.
SETTINGS = {"dtype": "float32", "device": "cpu", "attention": "sdpa", "batch_size": 1}
STRATEGIES = ("vanilla", "fastv", "pdrop")
NAMES = {f"{model}_{strategy}": (model, strategy) for model in QUESTIONS for strategy in STRATEGIES}


class Watched:
    """A strategy that keeps the report of each batch."""

    def __init__(self, strategy: Any):
        self.strategy, self._opened = strategy, list[Any]()

    def __call__(self, model: Any, image: Any = None) -> Any:
        """The strategy's own context."""
        self._opened.append(self.strategy(model, image))
        return self._opened[-1]

    @property
    def reports(self) -> list[Any]:
        """Of all batches, in order."""
        return [context.report for context in self._opened]


def measure(model: str, strategy: str, tasks: Sequence[str] | None = None) -> dict[str, Any]:
    """The reference of a model and strategy, by their names in `conf`, as it comes out here and now."""
    from pdrop_eval.run.evaluate.header import make_header
    from pdrop_eval.run.evaluate.plan import make_plan
    from pdrop_eval.run.lmms.answer_log import AnswerLog
    from pdrop_eval.run.lmms.open import open_model, open_task
    from pdrop_eval.run.lmms.tasks.task_runner import run_task

    settings = {**SETTINGS, "limit": QUESTIONS[model]}
    overrides = [f"{key}={value}" for key, value in settings.items()]
    with tempfile.TemporaryDirectory() as scratch:
        given = compose_spec(
            [f"model={model}", f"strategy={strategy}", "workers=0", f"results={scratch}/runs", *overrides]
        )
        # what another version changes is what is asked for here
        config = replace(given, tasks=None if tasks is None else tuple(tasks), untested_packages=True)
        plan = make_plan(config)
        dropping, header, tflops = make_header(plan, "")
        lmm = open_model(plan, dropping)
        layers = [drop.layer for drop in dropping.drops(header["model"]["layers"])]
        found = {}
        for task in plan.tasks:
            lmm.strategy = watched = Watched(dropping)
            folder = Path(scratch) / task
            folder.mkdir()
            info, yaml = open_task(plan, task, folder)
            with contextlib.redirect_stderr(io.StringIO()):  # progress bars; what goes wrong is an exception
                entry, samples = run_task(
                    lmm, info, yaml, answers := AnswerLog(), limit=config.limit, seed=config.seed,
                    resamples=0, tflops=tflops,
                )  # fmt: skip
            asked = [doc_id for _, doc_id in answers.measurements]
            reports = dict(zip(asked, watched.reports, strict=True))
            found[task] = {
                "score": entry["score"],
                "samples": [_sample(sample, reports[sample["doc_id"]], layers) for sample in samples],
            }
    return {
        "schema": SCHEMA,
        "model": model,
        "model_sha256": plan.identity["model_sha256"],
        "strategy": strategy,
        "fields": header["strategy"]["fields"],
        "settings": settings,
        "packages": header["packages"],
        "processor": provenance.hardware()["cpu"],
        "tasks": found,
    }


def _sample(sample: dict[str, Any], report: Any, layers: Sequence[int]) -> dict[str, Any]:
    kept = ("doc_id", "content_sha256", "answer", "score", "image_tokens", "image_tokens_per_layer")
    ids = {f"layer {at}": spans(rows[0].tolist()) for at, rows in zip(layers, report.retained, strict=True)}
    return {**{key: sample[key] for key in kept}, "retained": ids, "closest_call": closest_call(report)}


def closest_call(report: Any) -> float | None:
    """How near a dropped token came to a retained one: the least gap of their scores, as a share of them.

    Below about 1e-6 rounding alone can swap them, on another processor. None where nothing was dropped.
    """
    gaps = []
    alive = list(range(report.image_tokens[0]))
    for rows, scores in zip(report.retained, report.scores, strict=True):
        kept = set(rows[0].tolist())
        of = dict(zip(alive, scores[0].tolist(), strict=True))
        if len(kept) < len(alive):
            least = min(of[token] for token in kept)
            gaps.append((least - max(of[token] for token in alive if token not in kept)) / abs(least))
        alive = sorted(kept)
    return float(f"{min(gaps):.1e}") if gaps else None


def check(name: str, folder: Path = FOLDER) -> bool:
    """Compares one reference with what comes out now, prints what differs; true if nothing does."""
    reference = read(folder / f"{name}.json")
    found = measure(*NAMES[name])
    lines = differences(reference, found)
    others = other_versions(reference, found)
    print(f"{name}: {f'{len(lines)} difference(s)' if lines else 'equal'}{f'; {others}' if others else ''}")
    for line in lines:
        print(f"  {line}")
    return not lines


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Regression baselines of the embedded models.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(NAMES)}; all")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"where the references are ({FOLDER})")
    options = parser.parse_args(arguments)
    try:
        for name in options.names:
            check_choice("reference", name, NAMES)
        chosen = options.names or list(NAMES)
        if options.check:
            equal = [check(name, options.folder) for name in chosen]
            return 0 if all(equal) else 1
        for name in chosen:
            path = options.folder / f"{name}.json"
            write_atomically(path, to_text(measure(*NAMES[name])))
            print(f"Wrote {path}")
    except UserError as error:
        print(f"reference: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
