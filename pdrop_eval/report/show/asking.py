"""Single samples of a task, asked and answered as an evaluation does it: lmms-eval's prompt, our model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from pdrop_eval.benchmarks.judging.asks import Replies
from pdrop_eval.benchmarks.sample_errors import PICTURE_ERRORS, VALUE_ERRORS, guard, unreadable
from pdrop_eval.benchmarks.task_files import TaskInfo
from pdrop_eval.models.families import multimodal
from pdrop_eval.models.pictures.images import pictures_of
from pdrop_eval.models.prompts import asked_as
from pdrop_eval.run.evaluate.plan import Plan
from pdrop_eval.run.lmms.answer_log import AnswerLog
from pdrop_eval.run.lmms.measurement import Measurement
from pdrop_eval.run.lmms.open import open_task
from pdrop_eval.run.lmms.tasks.installed_scoring import score_installed
from pdrop_eval.run.lmms.tasks.task_runner import load_task, task_manager
from pdrop_eval.utils.errors import UserError


@dataclass(frozen=True)
class Outcome:
    """An answer as the record would have it. score: 0 to 1, None where only a judge or a group gives one."""

    answer: str
    score: float | None
    measured: Measurement


@dataclass(frozen=True)
class Question:
    """One sample of a task."""

    task: "Task"
    doc_id: int
    request: Any

    @property
    def prompt(self) -> str:
        """The question as the model gets it, without the chat template."""
        return str(self.request.args[0])

    @property
    def target(self) -> str:
        """The expected answer; of several, as VQA's ten people gave them, each one once."""
        found = self.task.task.doc_to_target(self.task.docs[self.doc_id])
        words = [
            one["answer"] if isinstance(one, dict) and "answer" in one else one for one in _listed(found)
        ]
        return " | ".join(dict.fromkeys(map(str, words)))

    def images(self) -> list[Image.Image]:
        """The pictures, read anew. Raises UserError for damaged ones."""
        _, _, doc_to_visual, doc_id, name, split = self.request.args
        try:
            return pictures_of(self.task.task.dataset[split][doc_id], doc_to_visual)
        except (*PICTURE_ERRORS, *VALUE_ERRORS) as error:
            raise unreadable(f"task {name}, sample {doc_id}", "read", error) from error


class Task:
    """A task's data, opened; to be made and used under `task_runner.quiet`.

    `scratch` has to stay as long as the task is used. Raises UserError for data that can't be loaded.
    """

    def __init__(self, plan: Plan, name: str, scratch: Path):
        info, folder = open_task(plan, name, scratch)
        self.info: TaskInfo = info
        prompts = asked_as(multimodal(plan.checkpoint.family), plan.config.model.chat_template)
        self.task: Any = load_task(task_manager(folder, prompts), info)
        guard(self.task, name)
        self.docs: Any = self.task.eval_docs_no_media

    def question(self, doc_id: int) -> Question:
        """A sample of this id. Raises UserError for one without a picture."""
        self.task.build_all_requests(limit=1, offset=doc_id)
        question = Question(self, doc_id, self.task.instances[0])
        if question.request.doc_id != doc_id:
            raise ValueError(f"lmms-eval gives sample {question.request.doc_id} for {doc_id}")
        if not question.images():
            raise UserError(
                f"sample={self.info.benchmark}:{doc_id} is a question without an image: there is nothing to "
                "show. Choose another sample."
            )
        return question

    def earned(self, question: Question, answer: str) -> float | None:
        """What an answer earns by lmms-eval's own scoring, 0 to 1; None where it alone has no score."""
        info = self.info
        if info.installed:
            said = [(question.doc_id, [answer])]
            own = score_installed(info, self.task, said, [""], Replies(), 0, 1)
            found = own.score.rows[0]["score"] if own.score else None
            return found if found is None or 0 <= found <= 1 else None
        if info.judge or info.rule.copies:
            return None
        doc = self.docs[question.doc_id]
        item = self.task.process_results(doc, [answer]).get(info.metric)
        if item is None:
            return None
        (row,) = info.rule.rows([item], [doc], [0], self.task.aggregation()[info.metric])
        return float(row["score"])


def answered(model: Any, questions: Sequence[Question], seed: int) -> list[Outcome]:
    """The model's answers to questions, under its strategy. Raises SampleError for one that fails."""
    found: dict[int, Outcome] = {}
    for task in dict.fromkeys(question.task for question in questions):
        mine = [question for question in questions if question.task is task]
        torch.manual_seed(seed)
        model.task_dict[task.info.task] = task.task.dataset
        log = AnswerLog()
        with model.writing_to(log):
            results = model.generate_until([question.request for question in mine])
        for question, answer in zip(mine, _filtered(task, mine, results), strict=True):
            measured = log.measurements[task.info.task, question.doc_id]
            found[id(question)] = Outcome(answer, task.earned(question, answer), measured)
    return [found[id(question)] for question in questions]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _filtered(task: Task, questions: Sequence[Question], results: Iterable[Any]) -> list[str]:
    """The answers after the task's own filters."""
    requests = [question.request for question in questions]
    for request, result in zip(requests, results, strict=True):
        request.resps, request.filtered_resps = [result.text], {}
    task.task._instances = requests
    task.task.apply_filters()
    return [str(next(iter(request.filtered_resps.values()))) for request in requests]
