"""Logs of lmms-eval: what it writes with `--log_samples`, by any of its models and versions.

Of a run, `<date>_results.json` has the numbers and `<date>_samples_<task>.jsonl` a task's samples. Versions
before 0.2 wrote `results.json` and a `<task>.json` with all samples under `logs`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.registry import Benchmark, registered_by_task
from pdrop_eval.run.importing.benchmarks import (
    benchmark_of_task,
    check_asked,
    check_task,
    counted,
    in_order,
    is_task,
    metrics_of,
)
from pdrop_eval.run.importing.readers.files import Placed, read_json, read_rows
from pdrop_eval.run.importing.readers.lmms_eval_results import (
    OLD_NAMES,
    Results,
    claimed_by,
    cleaned,
    counts_of,
    facts_of,
    limit_of,
    metrics_told,
    model_of,
    other_version_of,
    plain_name,
    settings_of,
)
from pdrop_eval.run.importing.source import (
    Row,
    Source,
    TaskRows,
    check_rows,
    folder_of,
    one_model,
    one_of_each,
)
from pdrop_eval.utils.errors import UserError

_SAMPLES = re.compile(r"(?:(?P<date>\d{8}_\d{6}|[\d-]+T[\d.:-]+)_)?samples_(?P<task>.+)\.jsonl?$")


def read_log(path: str, asked: Sequence[str] | None) -> Source:
    """Return what a log holds.

    Args:
        path: Its folder, or the file of one task's samples.
        asked: The tasks to take; None for all.

    Raises:
        UserError: There are no samples, not all, of a task that isn't known, or of several runs.
    """
    root = folder_of(path)
    results, logs = _found(root)
    if not logs:
        raise _without_samples(path, results)
    of_task = one_of_each((_our_name(name, asked), file) for name, file in logs)
    tasks = _wanted(of_task, asked)
    kept = _of_the_same(results, [of_task[task] for task in tasks])
    one_model(
        ((settings_of(found), file) for file, found in kept.items()),
        "A record is of one model with one setting: import the folder of each, with a name= of its own.",
    )
    model = next((model_of(found) for found in kept.values()), None)
    if asked is None:
        _check_all_there(kept, tasks)
    counts = {plain_name(name): count for found in kept.values() for name, count in counts_of(found).items()}
    rows = [_task_rows(task, of_task[task], kept, counts.get(task)) for task in tasks]
    return Source(
        tasks=rows,
        files=[*kept, *(of_task[task] for task in tasks)],
        model=model,
        limit=limit_of(kept, counts, tasks),
        facts=facts_of(kept),
    )


def _found(root: Path) -> tuple[Results, list[tuple[str, Path]]]:
    """The results files, and the samples by the task's name, each file once."""
    inside = [root] if root.is_file() else sorted(root.rglob("*.json*"))
    beside = sorted(root.parent.glob("*results.json")) if root.is_file() else []
    results: Results = {}
    logs = []
    for file in dict.fromkeys(one.resolve() for one in [*inside, *beside] if one.is_file()):
        named = _SAMPLES.search(file.name)
        if named:
            logs.append((named["task"], file))
        elif file.suffix == ".json" and (found := _old_or_results(file)) is not None:
            if "logs" in found:
                logs.append((file.stem, file))
            else:
                results[file] = found
    return results, logs


def _old_or_results(file: Path) -> Mapping[str, Any] | None:
    """A file of results, or one of samples of an early version; None for any other."""
    if not file.name.endswith("results.json") and not is_task(file.stem):
        return None
    found = read_json(file)
    if not isinstance(found, dict):
        return None
    if isinstance(found.get("logs"), list):
        return found
    return cleaned(found) if isinstance(found.get("results"), dict) else None


def _without_samples(path: str, results: Results) -> UserError:
    if results:
        return UserError(
            f"from={path} has results ({next(iter(results)).name}) and no samples. Run lmms-eval with "
            "--log_samples; a record needs the answers, not the scores alone."
        )
    return UserError(
        f"from={path} has no log of lmms-eval: no file is called <date>_samples_<task>.jsonl. Name the "
        "folder that --output_path named, after a run with --log_samples."
    )


def _our_name(name: str, asked: Sequence[str] | None) -> str:
    task = plain_name(name)
    if asked is None:
        known = f"Leave it out by naming the others: tasks=[{next(iter(registered_by_task()))},...]."
        check_task("task of the log", task, known)
    return task


def _wanted(of_task: Mapping[str, Path], asked: Sequence[str] | None) -> list[str]:
    check_asked(asked or (), of_task, "log")
    return in_order(of_task if asked is None else asked)


def _of_the_same(results: Results, logs: Iterable[Path]) -> Results:
    """The results that go with logs: of the same folder and date; all of a folder where none has a date."""
    kept: Results = {}
    for log in logs:
        named = _SAMPLES.search(log.name)
        date = named["date"] if named else None
        beside = {file: found for file, found in results.items() if file.parent == log.parent}
        dated = {file: found for file, found in beside.items() if date and file.name.startswith(date)}
        kept |= dated or ({} if date else beside)
    return kept


def _check_all_there(results: Results, tasks: Sequence[str]) -> None:
    for file, found in results.items():
        lacking = [name for name in counts_of(found) if plain_name(name) not in tasks]
        if lacking:
            raise UserError(
                f"{file} has results of {', '.join(lacking)}, and there are no samples of it: the log is "
                f"partial. Copy all of its files, or name what is there: tasks=[{','.join(tasks)}]."
            )


def _task_rows(task: str, file: Path, results: Results, count: Mapping[str, Any] | None) -> TaskRows:
    lines = _logged(file)
    if count is not None and len(lines) != count.get("effective"):
        raise UserError(
            f"{file} has {len(lines)} samples and the results say {count.get('effective')}: the log is "
            "partial, or of another run. Copy it again, or run lmms-eval again."
        )
    known = benchmark_of_task(task)
    metric = known.metric or _first_metric(task, lines, results)
    rows = [_row(place, line, known, metric) for place, line in lines]
    check_rows(task, rows)
    scored = any(row.item is not None for row in rows)
    return TaskRows(
        task=task,
        rows=rows,
        claimed=claimed_by(task, metric, results),
        scored_by="lmms-eval" if scored else None,
        unconfirmed="" if count is not None else "no results file says how many questions were asked",
        metric=metric,
        other_version=other_version_of(task, results),
    )


def _first_metric(task: str, lines: Sequence[Placed], results: Results) -> str:
    """The first metric that samples have, of a benchmark that the registry doesn't have; empty for none."""
    names = [*metrics_of(task), *metrics_told(task, results)]
    there = (name for name in counted(names) if any(line.get(name) is not None for _, line in lines))
    return next(there, "")


def _logged(file: Path) -> list[Placed]:
    if file.suffix == ".jsonl":
        return read_rows(file)
    return [(f"{file}, sample {number}", line) for number, line in enumerate(read_json(file)["logs"], 1)]


def _row(place: str, line: Mapping[str, Any], known: Benchmark, metric: str) -> Row:
    doc_id = line.get("doc_id")
    if isinstance(doc_id, bool) or not isinstance(doc_id, int) or doc_id < 0:
        raise UserError(f"{place}: the doc_id is {doc_id!r}, no whole number from 0. Is it lmms-eval's log?")
    answer = _first(line.get("filtered_resps", line.get("resps")))
    if not isinstance(answer, str):
        raise UserError(
            f"{place}: there is no answer (filtered_resps is {answer!r}). A record needs answers in words: "
            "tasks that compare likelihoods can't be imported."
        )
    doc = line.get("doc")
    question = line.get("input", _first(line.get("arguments")))
    return Row(
        place=place,
        doc_id=doc_id,
        question=question if isinstance(question, str) else None,
        answer=answer,
        target=line.get("target"),
        item=line.get(metric, line.get(OLD_NAMES.get(metric, ""))),
        doc=doc if isinstance(doc, dict) else {},
    )


def _first(value: Any) -> Any:
    """The one value of lists in lists, which versions wrap differently."""
    while isinstance(value, list) and value:
        value = value[0]
    return value
