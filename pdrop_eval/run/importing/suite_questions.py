"""The questions of a suite or a folder, through lmms-eval, and its metric for answers made elsewhere."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdrop_eval.benchmarks.registry import IMAGES
from pdrop_eval.run.importing.marks import PARTS
from pdrop_eval.run.importing.questions import Asked, Known, Question
from pdrop_eval.run.importing.source import Row
from pdrop_eval.utils.errors import UserError

if TYPE_CHECKING:
    from pdrop_eval.run.config.spec import DataSpec, RunSpec


class OpenTask:
    """A task of lmms-eval with its data.

    Attributes:
        known: Its questions.
    """

    def __init__(self, config: "RunSpec", data: Any, name: str, scratch: Path):
        from pdrop_eval.benchmarks.sample_errors import guard
        from pdrop_eval.run.lmms.open import task_folder
        from pdrop_eval.run.lmms.tasks.task_runner import load_task, task_manager

        self._name = name
        self._info, folder = task_folder(data, config.suite, name, scratch)
        self._task: Any = load_task(task_manager(folder), self._info)
        guard(self._task, name)
        self._task.build_all_requests()
        self._requests = {one.doc_id: one for one in self._task.instances}
        self._docs = self._task.eval_docs_no_media
        questions = [self._question(doc_id) for doc_id in sorted(self._requests)]
        origin = f"data.folder={config.data.folder}" if config.suite.own else f"suite={config.suite.name}"
        self.known = Known(questions, data.sha256[name], True, origin, self._with_pictures)

    def items(self, rows: Sequence[Row], questions: Sequence[Question]) -> list[Mapping[str, Any]]:
        """Return what lmms-eval's `process_results` gives of each answer, by metric.

        Raises:
            UserError: A language model has to say what they earn.
        """
        from pdrop_eval.benchmarks.judging.asks import NeedsJudge, Replies, caught

        for row, question in zip(rows, questions, strict=True):
            self._requests[question.doc_id].resps = [row.answer]
        chosen = {question.doc_id for question in questions}
        self._task._instances = [one for one in self._task.instances if one.doc_id in chosen]
        self._task.apply_filters()
        found: list[Mapping[str, Any]] = []
        try:
            with caught(Replies()):
                for question in questions:
                    (filtered,) = self._requests[question.doc_id].filtered_resps.values()
                    found.append(dict(self._task.process_results(self._docs[question.doc_id], [filtered])))
        except NeedsJudge as error:
            raise UserError(
                f"The answers to {self._name} have no scores, and a language model has to give them. Import "
                "scores, a column `score`, or leave it out with tasks=[...]."
            ) from error
        return found

    def _question(self, doc_id: int) -> Question:
        doc = self._docs[doc_id]
        part = PARTS.get(self._info.scoring)
        ids = tuple(str(doc[name]) for name in self._info.unique if name != part and name in doc)
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
        unit = pixels if self._info.cluster == IMAGES else question.doc[self._info.cluster]
        return replace(question, content_sha256=content, images_sha256=pixels, unit=unit)


@contextmanager
def open_suite(suite: str | None, given: "DataSpec", tasks: Sequence[str]) -> Iterator[Asked]:
    """Open tasks of a suite, or of a folder of the user's own, with their data; yields what is known of them.

    Args:
        suite: A file of `conf/suite`; None for a folder.
        given: The group `data` of the settings.
        tasks: Their names.

    Raises:
        UserError: An unknown suite, or a task that it doesn't have.
    """
    from pdrop_eval.benchmarks.own.task import data_of
    from pdrop_eval.run.config.checks import check_tasks
    from pdrop_eval.run.lmms.tasks.score_answers import quiet_lmms_eval

    config = _config(suite, given)
    check_tasks(list(tasks), list(config.suite.tasks), config.suite.name, None)
    data = data_of(config.suite, given, tasks)
    own = vars(config.suite.own) if config.suite.own else {}
    with ExitStack() as stack:
        stack.enter_context(quiet_lmms_eval(config))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        opened = {name: OpenTask(config, data, name, scratch / name) for name in tasks}
        yield Asked(
            words={"suite": config.suite.name, **({"own": own} if own else {})},
            suite={"name": config.suite.name, "source": config.suite.source},
            known={name: task.known for name, task in opened.items()},
            items={name: task.items for name, task in opened.items()},
        )


def _config(suite: str | None, given: "DataSpec") -> "RunSpec":
    """The settings that a run of the same questions has."""
    from pdrop_eval.run.config.own_data import own_suite
    from pdrop_eval.run.config.spec import SuiteSpec, compose_spec
    from pdrop_eval.run.config.typed import make_typed

    if suite is not None:
        return replace(compose_spec([f"suite={suite}"]), data=given)
    return replace(
        compose_spec(), data=given, suite=make_typed(SuiteSpec, own_suite(given, None) or {}, "suite")
    )
