"""The questions of a suite's data, through lmms-eval, and its metric for answers that were made elsewhere."""

import inspect
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdrop_eval.benchmarks.registry import IMAGES, registered_by_task
from pdrop_eval.run.importing.questions import Asked, Known, Question
from pdrop_eval.run.importing.scoring import PARTS
from pdrop_eval.run.importing.source import Row
from pdrop_eval.utils.errors import UserError

if TYPE_CHECKING:
    from pdrop_eval.run.config.spec import RunSpec

Aggregate = Callable[[list[Any]], float]


class OpenTask:
    """A task of lmms-eval with its data.

    Attributes:
        known: Its questions.
    """

    def __init__(self, config: "RunSpec", data: Any, name: str, scratch: Path):
        from lmms_eval.tasks import TaskManager

        from pdrop_eval.benchmarks.sample_errors import guard
        from pdrop_eval.run.lmms.open import task_folder
        from pdrop_eval.run.lmms.tasks.task_runner import load_task

        self._name, self._own = name, registered_by_task()[name]
        info, folder = task_folder(data, config.suite, name, scratch)
        self._task: Any = load_task(TaskManager(include_path=str(folder), include_defaults=False), info)
        guard(self._task, name)
        self._task.build_all_requests()
        self._requests = {one.doc_id: one for one in self._task.instances}
        self._docs = self._task.eval_docs_no_media
        questions = [self._question(doc_id) for doc_id in sorted(self._requests)]
        origin = f"suite={config.suite.name}"
        self.known = Known(questions, data.sha256[name], True, origin, self._with_pictures)

    def items(self, rows: Sequence[Row], questions: Sequence[Question]) -> list[Any]:
        """Return what lmms-eval's `process_results` gives for the metric; None where it gives nothing."""
        for row, question in zip(rows, questions, strict=True):
            self._requests[question.doc_id].resps = [row.answer]
        chosen = {question.doc_id for question in questions}
        self._task._instances = [one for one in self._task.instances if one.doc_id in chosen]
        self._task.apply_filters()
        found = []
        for question in questions:
            (filtered,) = self._requests[question.doc_id].filtered_resps.values()
            scored = self._task.process_results(self._docs[question.doc_id], [filtered])
            found.append(scored.get(self._own.metric))
        return found

    def _question(self, doc_id: int) -> Question:
        doc = self._docs[doc_id]
        part = PARTS.get(self._own.scoring)
        ids = tuple(str(doc[name]) for name in self._own.unique if name != part and name in doc)
        return Question(
            doc_id=doc_id,
            prompt=self._requests[doc_id].args[0],
            target=self._task.doc_to_target(doc),
            content_sha256="",
            images_sha256=None,
            part=None if part is None else str(doc[part]),
            ids=ids,
            doc=doc,
        )

    def _with_pictures(self, question: Question) -> Question:
        """The question with its hashes; what is resampled together is known by them, or by a column."""
        from pdrop_eval.benchmarks.sample_errors import PICTURE_ERRORS, VALUE_ERRORS, unreadable
        from pdrop_eval.models.pictures.images import pictures_of
        from pdrop_eval.utils.code.hashing import content_hashes

        _, _, doc_to_visual, doc_id, name, split = self._requests[question.doc_id].args
        try:
            pictures = pictures_of(self._task.dataset[split][doc_id], doc_to_visual)
        except (*PICTURE_ERRORS, *VALUE_ERRORS) as error:
            raise unreadable(f"task {name}, sample {doc_id}", "read", error) from error
        content, pixels = content_hashes(question.prompt, pictures)
        unit = pixels if self._own.cluster == IMAGES else question.doc[self._own.cluster]
        return replace(question, content_sha256=content, images_sha256=pixels, unit=unit)


@contextmanager
def open_suite(suite: str, root: str | None, tasks: Sequence[str]) -> Iterator[Asked]:
    """Open tasks of a suite with their data; yields what is known of their questions.

    Args:
        suite: A file of `conf/suite`.
        root: A folder with data of one's own; None: the suite's.
        tasks: Their names.

    Raises:
        UserError: An unknown suite, or a task that it doesn't have.
    """
    from pdrop_eval.benchmarks.data.prepare import prepare_data
    from pdrop_eval.run.config.checks import check_tasks
    from pdrop_eval.run.config.spec import DataSpec, compose_spec
    from pdrop_eval.run.lmms.tasks.score_answers import quiet_lmms_eval

    config = replace(compose_spec([f"suite={suite}"]), data=DataSpec(root))
    check_tasks(list(tasks), list(config.suite.tasks), config.suite.name, None)
    data = prepare_data(config.suite, root, tasks)
    with ExitStack() as stack:
        stack.enter_context(quiet_lmms_eval(config))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        opened = {name: OpenTask(config, data, name, scratch / name) for name in tasks}
        yield Asked(
            words={"suite": config.suite.name},
            suite={"name": config.suite.name, "source": config.suite.source},
            known={name: task.known for name, task in opened.items()},
            items={name: task.items for name, task in opened.items()},
        )


def aggregation_of(task: str) -> Aggregate:
    """Return lmms-eval's aggregation of a task's metric, which is looked up when it is first called."""
    found: list[Aggregate] = []

    def aggregate(items: list[Any]) -> float:
        if not found:
            found.append(_aggregation(task))
        return float(found[0](items))

    return aggregate


def _aggregation(task: str) -> Aggregate:
    """The function that the task's files name; the data aren't needed for it."""
    from pdrop_eval.benchmarks.task_files import describe, materialise
    from pdrop_eval.run.lmms.tasks.task_runner import command_line, quiet

    info = describe(task, "hub")
    with quiet(truncated_images=False), tempfile.TemporaryDirectory() as scratch:
        from lmms_eval.utils import load_yaml_config

        folder = materialise(info, "hub", Path(scratch), None, None, ocr=False)
        config: Mapping[str, Any] = load_yaml_config(yaml_path=str(folder / f"{task}.yaml"), mode="full")
    metrics = {one["metric"]: one.get("aggregation") for one in config["metric_list"]}
    function = metrics.get(info.metric)
    if not callable(function):
        raise UserError(f"lmms-eval's files of {task} name no function that sums up {info.metric}.")
    if "args" not in inspect.signature(function).parameters:
        return function

    def with_paths(items: list[Any]) -> float:
        with quiet(truncated_images=False), tempfile.TemporaryDirectory() as submission:
            return float(function(items, args=command_line(submission)))

    return with_paths
