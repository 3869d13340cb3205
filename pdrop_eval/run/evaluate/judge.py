"""Lets a judge score what a run has left to it, from the stored answers: nothing is generated again."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdrop_eval.benchmarks.judging.client import Judge
from pdrop_eval.utils.text.escape import visible
from pdrop_eval.utils.text.redact import redact_address

if TYPE_CHECKING:
    from pdrop_eval.run.evaluate.plan import Plan


def left_to(judge: Judge | None, record: dict[str, Any], tasks: Sequence[str]) -> list[str]:
    """Those of `tasks` that wait for a judge, or were scored by another one than this."""
    if judge is None:
        return []
    return [task for task in tasks if _waits(record["tasks"].get(task), judge)]


def judge_run(judge: Judge, record: dict[str, Any], tasks: Sequence[str], plan: "Plan") -> dict[str, Any]:
    """Scores `tasks` of a run on disk and returns the new record.

    Raises:
        JudgeError: The judge leaves an answer unscored: the scores that it gave wait in the run's folder for
            the next call, and all else is kept.
    """
    from pdrop_eval.benchmarks.judging.mmvet import Judged, judge_entry
    from pdrop_eval.benchmarks.stored_tally import stored_tally
    from pdrop_eval.benchmarks.task_files import describe
    from pdrop_eval.records.store import Run, load_samples

    folder, config = Path(record["folder"]), plan.config
    with Run.open(
        Path(config.results), record["model"]["name"], record["strategy"]["name"], record["identity"], {}
    ) as run:
        was_completed = run.completed
        for task in tasks:
            entry = run.record["tasks"][task]
            print(f"{visible(judge.model)} judges {entry['n']} answers of {task}", file=sys.stderr)
            kept = folder / "predictions" / f"{task}.judged.jsonl"
            if describe(task, config.suite.source).installed:
                result, samples, replies = _judge_installed(
                    judge, plan, task, entry, load_samples(folder, task), kept
                )
                run.add_task(task, result, samples, tally=stored_tally(entry["benchmark"], samples))
                replies.drop()
                continue
            judged = Judged(kept)
            result, samples = judge_entry(
                entry, load_samples(folder, task), judge, config.bootstrap, config.seed, judged
            )
            run.add_task(task, result, samples, tally=stored_tally(entry["benchmark"], samples))
            judged.drop()
        if was_completed:
            run.complete()
        return {**run.record, "folder": str(run.folder)}


def _judge_installed(
    judge: Judge, plan: "Plan", name: str, entry: dict[str, Any], samples: list[dict[str, Any]], path: Path
) -> tuple[dict[str, Any], list[dict[str, Any]], Any]:
    """A task of lmms-eval's own files, scored by its own functions with the judge behind them.

    Returns:
        The record's entry, the samples, and the judge's replies.
    """
    from lmms_eval.tasks import TaskManager

    from pdrop_eval.benchmarks.judging.asks import KeptReplies, Replies
    from pdrop_eval.benchmarks.sample_errors import guard
    from pdrop_eval.run.lmms.open import open_task
    from pdrop_eval.run.lmms.tasks.installed_scoring import score_installed
    from pdrop_eval.run.lmms.tasks.task_runner import entry_of, load_task, quiet

    config, kept = plan.config, KeptReplies(path, judge)
    with quiet(config.suite.source == "hub"), tempfile.TemporaryDirectory() as scratch:
        info, folder = open_task(plan, name, Path(scratch))
        task = load_task(TaskManager(include_path=str(folder), include_defaults=False), info)
        guard(task, name)
        answers = [(sample["doc_id"], [sample["answer"]]) for sample in samples]
        pictures = [sample["images_sha256"] for sample in samples]
        replies = Replies(kept.known, kept.ask)
        try:
            own = score_installed(info, task, answers, pictures, replies, config.bootstrap, config.seed)
        except BaseException:  # Ctrl-C among it: threads wait for the judge
            judge.stop()
            raise
    rows = own.score.rows if own.score else ()
    told = {
        **entry_of(info, own, len(samples)),
        "judge": {**judge.describe(), "answered": sorted(kept.answered)},
    }
    changed = {
        key: value for key, value in entry.items() if key not in ("predictions", "judge", "definition")
    }
    scored = [
        {**{k: v for k, v in sample.items() if k not in ("score", "cluster", "part")}, **row}
        for sample, row in zip(samples, rows, strict=True)
    ]
    kept_file = {"predictions": entry["predictions"]} if entry.get("predictions") else {}
    return {**changed, **told, **kept_file}, scored, kept


def _waits(entry: dict[str, Any] | None, judge: Judge) -> bool:
    if entry is None or not (entry["status"] == "needs_judge" or "judge" in entry):
        return False
    by = entry.get("judge", {})
    # earlier versions stored the address as it was given
    return {key: redact_address(str(by.get(key))) for key in judge.describe()} != judge.describe()
