"""`pdrop-eval-import`: results that were made elsewhere, as a record that stands beside our own runs.

Nothing heavy is imported up here: what a log says, or a recorded run of its questions, needs no torch.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.installed.index import include
from pdrop_eval.records.imported import IMPORTED
from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.run.config.checks import check_results_folder
from pdrop_eval.run.config.compose import help_text
from pdrop_eval.run.config.own_data import own_suite
from pdrop_eval.run.importing import record as records
from pdrop_eval.run.importing.benchmarks import benchmark_of_task
from pdrop_eval.run.importing.questions import (
    Asked,
    Known,
    Question,
    matched,
    questions_of_run,
    record_of,
)
from pdrop_eval.run.importing.readers.lmms_eval_log import read_log
from pdrop_eval.run.importing.readers.plain_table import read_table
from pdrop_eval.run.importing.readers.vlmevalkit import read_results
from pdrop_eval.run.importing.source import Source, TaskRows, folder_of
from pdrop_eval.run.importing.spec import ImportSpec, read_settings
from pdrop_eval.run.importing.text import import_text
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.terminal import cli
from pdrop_eval.utils.terminal.console import script
from pdrop_eval.utils.terminal.process import console_script

_READERS: dict[str, Callable[[str, Sequence[str] | None], Source]] = {
    "lmms_eval": read_log, "vlmevalkit": read_results, "table": read_table,
}  # fmt: skip


@console_script
def main() -> None:
    """The console script."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # of the libraries
    with cli.ending("pdrop-eval-import", "interrupted. Run the same command again."):
        print(_answer(sys.argv[1:]), flush=True)


def _answer(arguments: Sequence[str]) -> str:
    if {"-h", "--help"} & {*arguments}:
        return help_text("import").rstrip()
    width = min(shutil.get_terminal_size().columns, 80)
    return import_text(*import_results(read_settings(arguments), _command()), width)


def import_results(spec: ImportSpec, command: str) -> tuple[dict[str, Any], bool]:
    """Import what is asked for, unless its record is there.

    All of it is read, checked and scored before anything is written.

    Args:
        spec: The settings.
        command: The command line, for the record.

    Returns:
        The record with its folder, and whether it is new.

    Raises:
        UserError: Results that can't be read, are partial, of several models, or of other questions.
    """
    root = folder_of(str(spec.source))
    check_results_folder(Path(spec.results))
    own = _learn(spec)
    source = _READERS[str(spec.kind)](str(spec.source), [own] if own else spec.tasks)
    _check_judges(source)
    spec = replace(spec, name=str(spec.name).strip(), model=spec.model or source.model or "unknown model")
    tasks = [found.task for found in source.tasks]
    if spec.like:
        return _imported(spec, command, root, source, _of_run(spec.like, tasks))
    if spec.suite or own:
        from pdrop_eval.run.importing.suite_questions import open_suite

        print("Loading lmms-eval and the questions", file=sys.stderr)
        with open_suite(spec.suite, spec.data, tasks) as asked:
            return _imported(spec, command, root, source, asked)
    return _imported(spec, command, root, source, Asked({}, {"name": IMPORTED}))


def _learn(spec: ImportSpec) -> str | None:
    """Take in what the settings say of benchmarks that the registry doesn't have, before results name them.

    Returns:
        The task of the user's own folder; None where there is no folder.
    """
    if spec.include_path is not None:
        include(spec.include_path)
    if spec.like:
        to_runs([record_of(spec.like)])
    suite = own_suite(spec.data, None)
    return None if suite is None else str(suite["name"])


def _of_run(folder: str, tasks: Sequence[str]) -> Asked:
    known, like = questions_of_run(folder, tasks)
    suite = {name: (like.get("suite") or {}).get(name) for name in ("name", "source")}
    parts = {task: like["tasks"][task].get("subset") for task in tasks}
    return Asked({"like": like["run_id"]}, suite, known, like.get("limit"), like.get("subset"), parts)


def _imported(
    spec: ImportSpec, command: str, root: Path, source: Source, asked: Asked
) -> tuple[dict[str, Any], bool]:
    from pdrop_eval.run.importing.scoring import score_task

    decides = {**asked.words, **_data(asked.known), "bootstrap": spec.bootstrap, "seed": spec.seed}
    identity = records.identity_of(str(spec.kind), source, root, spec.said, decides)
    results, model, name = Path(spec.results), str(spec.model), str(spec.name)
    there = records.existing(results, model, name, identity)
    if there is not None:
        return there, False
    scored, whole = {}, True
    for found in source.tasks:
        task, own = found.task, asked.known.get(found.task)
        questions = None if own is None else matched(task, found.rows, own)
        entry, samples = score_task(found, questions, asked.items.get(task), spec.bootstrap, spec.seed)
        if own is not None and questions is not None:
            every = len({one.doc_id for one in questions}) == len(own.questions)
            whole &= every
            entry["data_sha256"] = own.data_sha256 if every or _first_ones(questions) else None
            entry |= {"subset": asked.parts[task]} if every and asked.parts.get(task) else {}
            if every and own.whole:
                entry[IMPORTED]["unconfirmed"] = None
        scored[task] = (entry, samples)
    limit = asked.limit if asked.known and whole else source.limit
    if not whole:
        limit = max(len(found.rows) for found in source.tasks)
    header = records.header_of(source, identity, spec.said, asked.suite, limit, command)
    if whole and asked.subset:
        header |= {"subset": asked.subset, "changes": [*header["changes"], f"subset={asked.subset}"]}
    return records.write(results, model, name, identity, header, scored), True


def _first_ones(questions: Sequence[Question]) -> bool:
    """Whether these are the first questions of the data, as with a limit: others have other data."""
    return {one.doc_id for one in questions} == set(range(len({one.doc_id for one in questions})))


def _data(known: Mapping[str, Known]) -> dict[str, Any]:
    return {"data_sha256": {task: one.data_sha256 for task, one in known.items()}} if known else {}


def _check_judges(source: Source) -> None:
    """Refuse what a language model has to score, where it has none."""

    def judged(found: TaskRows) -> bool:
        scored = any(row.score is not None or row.item is not None for row in found.rows)
        return benchmark_of_task(found.task).judge and not scored

    waiting = [found.task for found in source.tasks if judged(found)]
    if waiting:
        others = ",".join(found.task for found in source.tasks if found.task not in waiting)
        raise UserError(
            f"{', '.join(waiting)} is scored by a language model, and its scores can't be imported without "
            f"one for each question. {f'Leave it out: tasks=[{others}].' if others else ''}".strip()
        )


def _command() -> str:
    return shlex.join([script("pdrop-eval-import"), *sys.argv[1:]])


if __name__ == "__main__":
    main()
