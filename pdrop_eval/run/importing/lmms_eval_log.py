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
from pdrop_eval.run.importing.files import Placed, read_json, read_rows
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
from pdrop_eval.utils.text.redact import redact
from pdrop_eval.utils.validation import is_finite_number

_SAMPLES = re.compile(r"(?:(?P<date>\d{8}_\d{6}|[\d-]+T[\d.:-]+)_)?samples_(?P<task>.+)\.jsonl?$")
_RENDERED = "_rendered"  # how the rendered tasks are called in lmms-eval's own command
_SAID = ("lmms_eval_version", "git_hash", "date", "model_name")
_OF_MACHINE = ("device", "device_map", "batch_size")
_OLD_NAMES = {"mme_perception_score": "mme_percetion_score"}  # as versions before 0.3 spelt it
_ARGUMENTS = re.compile(r"(?:^|,)(?:pretrained|model|model_version|model_name|model_path)=([^,]+)")

Results = dict[Path, Mapping[str, Any]]


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
        ((_settings_of(found), file) for file, found in kept.items()),
        "A record is of one model with one setting: import the folder of each, with a name= of its own.",
    )
    model = next((_model_of(found) for found in kept.values()), None)
    if asked is None:
        _check_all_there(kept, tasks)
    counts = {_plain(name): count for found in kept.values() for name, count in _counts(found).items()}
    rows = [_task_rows(task, of_task[task], kept, counts.get(task)) for task in tasks]
    return Source(
        tasks=rows,
        files=[*kept, *(of_task[task] for task in tasks)],
        model=model,
        limit=_limit(kept, counts, tasks),
        facts=_facts(kept),
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
    return found if isinstance(found.get("results"), dict) or isinstance(found.get("logs"), list) else None


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


def _plain(name: str) -> str:
    short = name.removesuffix(_RENDERED)
    return short if short in registered_by_task() else name


def _our_name(name: str, asked: Sequence[str] | None) -> str:
    task = _plain(name)
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
        lacking = [name for name in _counts(found) if _plain(name) not in tasks]
        if lacking:
            raise UserError(
                f"{file} has results of {', '.join(lacking)}, and there are no samples of it: the log is "
                f"partial. Copy all of its files, or name what is there: tasks=[{','.join(tasks)}]."
            )


def _counts(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """How many questions each task has and was asked; versions before 0.2 don't say it."""
    counts = found.get("n-samples")
    return {k: v for k, v in counts.items() if isinstance(v, dict)} if isinstance(counts, dict) else {}


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
        claimed=_claimed(task, metric, results),
        scored_by="lmms-eval" if scored else None,
        unconfirmed="" if count is not None else "no results file says how many questions were asked",
        metric=metric,
    )


def _first_metric(task: str, lines: Sequence[Placed], results: Results) -> str:
    """The first metric that samples have, of a benchmark that the registry doesn't have; empty for none."""
    names = [*metrics_of(task), *_metrics_told(task, results)]
    there = (name for name in counted(names) if any(line.get(name) is not None for _, line in lines))
    return next(there, "")


def _metrics_told(task: str, results: Results) -> list[str]:
    """The metrics that the results have of a task, `exact_match,none` being one."""
    told = [found["results"].get(task) for found in results.values()]
    return [str(name).partition(",")[0] for numbers in told if isinstance(numbers, dict) for name in numbers]


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
        item=line.get(metric, line.get(_OLD_NAMES.get(metric, ""))),
        doc=doc if isinstance(doc, dict) else {},
    )


def _first(value: Any) -> Any:
    """The one value of lists in lists, which versions wrap differently."""
    while isinstance(value, list) and value:
        value = value[0]
    return value


def _claimed(task: str, metric: str, results: Results) -> float | None:
    for found in results.values():
        for name, numbers in found["results"].items():
            if _plain(name) == task and isinstance(numbers, dict):
                named = {name.partition(",")[0]: value for name, value in reversed(numbers.items())}
                value = named.get(metric, named.get(_OLD_NAMES.get(metric, "")))
                return float(value) if value is not None and is_finite_number(value) else None
    return None


def _limit(results: Results, counts: Mapping[str, Any], tasks: Sequence[str]) -> int | None:
    """The most questions of a task, where not all were asked."""
    known = [counts[task] for task in tasks if task in counts]
    fewer = [one for one in known if one.get("effective") != one.get("original")]
    if known:
        return max(int(one["effective"]) for one in fewer) if fewer else None
    limits = [found["config"].get("limit") for found in results.values() if "config" in found]
    whole = [int(limit) for limit in limits if is_finite_number(limit) and limit >= 1]
    return max(whole, default=None)


def _model_of(found: Mapping[str, Any]) -> str:
    """The model as the run's settings name it: `llava_hf of checkpoints/mini`."""
    config = found.get("config") or found.get("model_configs") or {}
    given = _ARGUMENTS.search(str(config.get("model_args") or ""))
    kind = str(config.get("model") or "unknown model")
    return f"{kind} of {given[1].strip()}" if given else kind


def _settings_of(found: Mapping[str, Any]) -> str:
    """The model with its arguments, but for what changes no answer: a fork's own settings are among them."""
    config = found.get("config") or found.get("model_configs") or {}
    arguments = str(config.get("model_args") or "").split(",")
    kept = [one for one in arguments if one.partition("=")[0].strip() not in _OF_MACHINE]
    return redact(f"{config.get('model')} with {','.join(kept) or 'no arguments'}")


def _facts(results: Results) -> dict[str, Any]:
    """What the first results file says of the run."""
    for found in results.values():
        config = found.get("config") or found.get("model_configs") or {}
        said = {name: found[name] for name in _SAID if found.get(name) is not None}
        return {**said, "model_args": config.get("model_args"), "batch_size": config.get("batch_size")}
    return {}
