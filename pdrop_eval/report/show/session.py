"""A command from its settings to its files: checked without a model, then opened once, answered and drawn."""

import contextlib
import io
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdrop_eval.report.show.samples import by_tasks, check_ids
from pdrop_eval.report.show.settings import Settings
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate.plan import Plan, make_plan, plan_beside
from pdrop_eval.utils.distributed import check_alone
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import write_atomically, writing_to
from pdrop_eval.utils.terminal import log
from pdrop_eval.utils.terminal.log import log_rank_zero
from pdrop_eval.utils.validation import check_choice

if TYPE_CHECKING:
    import numpy as np

    from pdrop_eval.report.show.asking import Outcome, Question
    from pdrop_eval.report.show.figure_spec import FigureSpec


@dataclass(frozen=True)
class Session:
    """Settings, and what was found out of them: a plan and a strategy object for each name."""

    settings: Settings
    plans: dict[str, Plan]
    strategies: dict[str, Any]
    depth: int

    @property
    def plan(self) -> Plan:
        """That of the first strategy: model and data are those of all."""
        return next(iter(self.plans.values()))


def prepare(settings: Settings) -> Session:
    """Checks all that can be checked without a model. Raises UserError."""
    check_alone("pdrop-eval-show")
    _check_out(settings.out)
    plans = _plans(settings)
    from pdrop_eval.models.loading.checkpoint import check_device, check_not_absent

    for plan in plans.values():
        check_not_absent(plan.config.device)
    log_rank_zero("Loading torch and transformers")
    from pdrop_eval.run.evaluate.header import make_header

    strategies, depth = {}, 0
    for name, plan in plans.items():
        check_device(plan.config.device)
        strategies[name], header, _ = make_header(plan, "pdrop-eval-show")
        depth = header["model"]["layers"]
    if wrong := [layer for layer in settings.layers or () if layer >= depth]:
        raise UserError(
            f"layers={wrong[0]} is outside of the model: the {depth} layers of "
            f"{next(iter(plans.values())).config.model.name} are 0 to {depth - 1}."
        )
    return Session(settings, plans, strategies, depth)


def show(session: Session) -> list[Path]:
    """Answers and draws every sample; returns what each one's files begin with.

    Raises:
        UserError: A sample doesn't exist; raised before the model is loaded.
        SampleError: A sample can't be answered.
    """
    from pdrop_eval.run.lmms.tasks.task_runner import quiet

    config = session.plan.config
    with ExitStack() as stack:
        stack.enter_context(quiet(config.suite.source == "hub"))
        asked = questions(session, stack)
        log_rank_zero(f"Loading the model for {len(asked)} sample(s)")
        specs = (_attention if session.settings.view == "attention" else _retained)(session, asked)
        return [_written(session, *found) for found in _shown(specs, len(asked), "drawing")]


def questions(session: Session, stack: ExitStack) -> "list[Question]":
    """All samples that are asked for, each once, task by task; to be used under `task_runner.quiet`.

    Their data stay until `stack` is left.

    Raises:
        UserError: A sample doesn't exist.
    """
    from pdrop_eval.report.show.asking import Task

    found = {}
    for name, asked in by_tasks(session.settings.samples).items():
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        task = Task(session.plan, name, Path(scratch))
        wanted = dict.fromkeys(doc_id for ids in asked for doc_id in check_ids(ids, len(task.docs)))
        found[name] = [task.question(doc_id) for doc_id in wanted]
    return [question for listed in found.values() for question in listed]


def answers(session: Session, asked: "Sequence[Question]") -> "dict[str, list[Outcome]]":
    """The outcome of each question under each strategy, from a model that is opened once."""
    from pdrop_eval.report.show.asking import answered
    from pdrop_eval.run.lmms.open import open_model

    model, found = None, dict[str, "list[Outcome]"]()
    for name, strategy in session.strategies.items():
        if model is None:
            model = open_model(session.plan, strategy)
        with strategy(model.loaded.model):  # refuses a model that it can't be used on
            model.strategy = strategy
        if len(session.strategies) > 1:
            log_rank_zero(f"Strategy {name}")
        found[name] = answered(model, asked, session.plan.config.seed)
    return found


def _retained(session: Session, asked: "Sequence[Question]") -> "Iterator[tuple[Question, FigureSpec]]":
    """All answers first, batch by batch; then the specs, one by one."""
    from pdrop_eval.report.show.views import label, retained_figure

    settings, outcomes = session.settings, answers(session, asked)
    labels = {name: label(name, [*settings.common, *settings.own.get(name, ())]) for name in outcomes}

    def spec(number: int) -> "FigureSpec":
        mine = {name: found[number] for name, found in outcomes.items()}
        return retained_figure(asked[number], mine, labels, session.plan.config.model.name, session.depth)

    return ((question, spec(number)) for number, question in enumerate(asked))


def _attention(session: Session, asked: "Sequence[Question]") -> "Iterator[tuple[Question, FigureSpec]]":
    from pdrop_eval.engine.attention_recorder import default_layers
    from pdrop_eval.report.show.views import attention_figure
    from pdrop_eval.run.lmms.open import open_model

    (strategy,) = session.strategies.values()
    model, settings, config = open_model(session.plan, strategy), session.settings, session.plan.config
    layers = default_layers(session.depth) if settings.layers is None else settings.layers
    for question in asked:
        with contextlib.redirect_stderr(io.StringIO()):  # a bar for each single question says nothing
            outcome, shares = attended(
                model, question, layers or range(session.depth), settings.query, config.seed
            )
        yield question, attention_figure(question, outcome, shares, settings.query, config.model.name)


def attended(
    model: Any, question: "Question", layers: Sequence[int], query: str, seed: int
) -> "tuple[Outcome, dict[int, np.ndarray]]":
    """A question's answer, and the share of attention of each of its image tokens, by layer.

    Raises:
        SampleError: A sample fails.
    """
    from pdrop_eval.engine.attention_recorder import AttentionShares
    from pdrop_eval.report.show.asking import answered

    name = question.task.info.task
    model.task_dict[name] = question.task.task.dataset
    ids = model.preparer(question.request).ids[None]
    image = model.loaded.family.image_mask(model.config, {"input_ids": ids})
    with AttentionShares(model.loaded.model, image, layers, query) as recorded:
        (outcome,) = answered(model, [question], seed)
    return outcome, {layer: recorded.shares[layer][image].numpy() for layer in sorted(recorded.shares)}


def _plans(settings: Settings) -> dict[str, Plan]:
    """A plan for each strategy; they differ in nothing but its settings, so the data are checked once."""
    plans: dict[str, Plan] = {}
    for name in settings.strategies:
        config = compose_spec(settings.overrides(name))
        if plans:
            plans[name] = plan_beside(next(iter(plans.values())), config)
            continue
        check_choice("log", config.log, log.KINDS)
        log.configure(config.log)
        # nothing is written to the results' folder; it is checked, though
        plans[name] = make_plan(replace(config, results=str(settings.out)))
    return plans


def _check_out(folder: Path) -> None:
    from pdrop_eval.run.config.checks import check_results_folder

    try:
        check_results_folder(folder)
    except UserError as error:
        raise UserError(str(error).replace("results=", "out=").replace("Results", "Drawings")) from error


def _written(session: Session, question: "Question", spec: "FigureSpec") -> Path:
    from pdrop_eval.report.show.drawing import draw

    settings, model = session.settings, session.plan.config.model.name
    stem = settings.out / settings.file_name(question.task.info.benchmark, question.doc_id, model)
    for kind, content in draw(spec).items():
        with writing_to(settings.out):
            write_atomically(stem.with_name(f"{stem.name}.{kind}"), content)
    return stem


def _shown(specs: Any, total: int, words: str) -> Iterator[Any]:
    """The same, with a bar of how far it is."""
    from tqdm import tqdm

    quiet = total < 2 or log.kind() != "quiet"
    yield from tqdm(
        specs, total=total, desc=words, unit="sample", file=sys.stderr, dynamic_ncols=True, disable=quiet
    )
