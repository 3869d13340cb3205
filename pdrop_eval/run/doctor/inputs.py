"""What `pdrop-eval-doctor` finds out about a run's inputs: checkpoints, data sets, the judge."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pdrop_eval.models.loading.checkpoint import resolve_checkpoint
from pdrop_eval.run.config import checks
from pdrop_eval.run.config.spec import ModelSpec, RunSpec
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.presets import model_configs
from pdrop_eval.utils.terminal.console import made_here


@dataclass(frozen=True)
class Finding:
    """One line of the report; `fix` says what to do about a `warn` or a `FAIL`."""

    status: str  # ok | warn | FAIL
    what: str
    text: str
    fix: str = ""


def checkpoints(config: RunSpec) -> Iterator[Finding]:
    """The chosen model, and which of the others of its size are still to be trained."""
    yield _checkpoint(config.model)
    lacking = []
    for name, other in model_configs().items():
        if other["size"] == config.model.size and name != config.model.name:
            try:
                resolve_checkpoint(other["pretrained"])
            except UserError:
                lacking.append(name)
    if lacking:
        fix = "an experiment leaves them out; or give your own with model.pretrained=<folder>"
        yield Finding("warn", "other checkpoints", f"not there: {', '.join(lacking)}", fix)


def _checkpoint(model: ModelSpec) -> Finding:
    from pdrop_eval.models.loading.load import prepare

    try:
        source = resolve_checkpoint(model.pretrained)
        found = prepare(
            model.pretrained,
            model.revision,
            model.trust_remote_code,
            model.anyres,
            model.chat_template,
            model.bounds,
        ).checkpoint
    except UserError as error:
        return Finding("FAIL", model.name, str(error))
    if isinstance(source, Path):
        return Finding("ok", model.name, f"{found.family}, safetensors in {source}")
    if _weights_cached(source):
        return Finding("ok", model.name, f"{found.family}, {source} in the Hub's cache")
    fix = f"hf download {source} --revision {model.revision}"
    return Finding("warn", model.name, f"{found.family}, {source} is fetched by the first run", fix)


def _weights_cached(repository: str) -> bool:
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    return any(folder.glob("snapshots/*/*.safetensors"))


def endpoint(config: RunSpec) -> Iterator[Finding]:
    """The settings of a model behind a server; the server is asked what it offers, and no question."""
    from pdrop_eval.run.endpoint.server import ask_offer, check_endpoint, make_server

    spec = config.endpoint
    assert spec is not None
    try:
        checks.check_settings(config)
        check_endpoint(spec)
        offer = ask_offer(make_server(spec), spec)
    except UserError as error:
        yield Finding("FAIL", "endpoint", str(error))
        return
    if offer["offers"] is None:
        text = f"{offer['base_url']} is there, but doesn't list its models"
        yield Finding("warn", "endpoint", text, f"the first question shows whether it has {spec.served}")
    else:
        yield Finding("ok", "endpoint", f"{spec.served} at {offer['base_url']}")


def _tasks(config: RunSpec) -> list[str]:
    return checks.check_tasks(config.tasks, list(config.suite.tasks), config.suite.name, None, packages=False)


def task_packages(config: RunSpec) -> Iterator[Finding]:
    """What tasks that run from lmms-eval's own files import, and isn't installed."""
    from pdrop_eval.benchmarks.installed.index import is_installed
    from pdrop_eval.benchmarks.installed.kinds import missing_packages

    for task in _tasks(config):
        missing = missing_packages(task) if task not in config.suite.tasks and is_installed(task) else ()
        if missing:
            fix = f"pip install {' '.join(missing)}"
            yield Finding("FAIL", task, f"its scoring needs {', '.join(missing)}", fix)


def data(config: RunSpec) -> Iterator[Finding]:
    """Each data set of the run: there, readable, with all columns, and how many rows."""
    tasks = _tasks(config)
    brought = [task for task in tasks if _brings(task)]
    yield from _all(_brought, brought)
    tasks = [task for task in tasks if task not in brought]
    if not tasks:
        return
    if config.suite.own is not None:
        yield from _all(lambda task: _own(task, config), tasks)
    elif data_from_hub(config):
        yield from _all(_on_hub, tasks)
    elif config.suite.source == "hub":
        yield from _all(lambda task: _downloaded(task, Path(str(config.data.root)).expanduser()), tasks)
    else:
        yield from _rendered(config, tasks)


def _all(look: Callable[[str], Finding], tasks: Sequence[str]) -> Iterator[Finding]:
    """Looks for all at once, so that a Hub out of reach is waited for only once; a UserError is a FAIL."""

    def guarded(task: str) -> Finding:
        try:
            return look(task)
        except UserError as error:
            return Finding("FAIL", task, str(error))

    with ThreadPoolExecutor(16) as pool:
        yield from pool.map(guarded, tasks)


def _brings(task: str) -> bool:
    """Whether a task of the user's own names its data files itself."""
    from pdrop_eval.benchmarks.data.brought import brought_sha256

    try:
        return brought_sha256(task) is not None
    except UserError:
        return True


def _brought(task: str) -> Finding:
    from pdrop_eval.benchmarks.data.brought import brought_sha256

    brought_sha256(task)
    return Finding("ok", task, "the data files that the task names are there")


def _own(task: str, config: RunSpec) -> Finding:
    from pdrop_eval.benchmarks.own.store import store_folder

    given = config.data
    found = store_folder(str(given.folder), str(given.metric), given.ignore or ())
    return Finding("ok", task, f"{found.questions} questions in {given.folder}, whole and scorable")


def _on_hub(task: str) -> Finding:
    from huggingface_hub import constants

    from pdrop_eval.benchmarks.data.local import find_local
    from pdrop_eval.benchmarks.data.read import count_rows
    from pdrop_eval.benchmarks.task_files import describe
    from pdrop_eval.models.loading.hub import HubUnreachableError, hub_commit

    info = describe(task, "hub")
    try:
        found = find_local(info, Path(constants.HF_HUB_CACHE))
        return Finding("ok", task, f"{count_rows(found.files)} rows of {info.dataset} in the Hub's cache")
    except UserError:
        try:
            commit = hub_commit(info.dataset, "dataset", None)
        except HubUnreachableError as error:
            text = f"{info.dataset}: not cached, and the Hub can't be reached ({error.reason})"
            return Finding("FAIL", task, text, "connect once, or data.root=<folder>")
    fix = f"hf download --repo-type dataset {info.dataset}"
    return Finding("warn", task, f"{info.dataset} at {commit[:7]} is fetched by the first run", fix)


def _downloaded(task: str, root: Path) -> Finding:
    from pdrop_eval.benchmarks.data.local import find_local
    from pdrop_eval.benchmarks.data.read import count_rows
    from pdrop_eval.benchmarks.task_files import describe

    found = find_local(describe(task, "hub"), root)
    return Finding("ok", task, f"{count_rows(found.read[0])} rows in {found.files[0].parent}")


def _rendered(config: RunSpec, tasks: Sequence[str]) -> Iterator[Finding]:
    from pdrop_eval.benchmarks.data.local import find_rendered
    from pdrop_eval.benchmarks.rendered.suite import default_root, suite_version
    from pdrop_eval.benchmarks.task_files import describe

    folder = (
        Path(config.data.root).expanduser()
        if config.data.root
        else default_root() / f"suite-{suite_version()}"
    )
    if config.data.root is None and not folder.is_dir():
        fix = made_here("suite", "python -m pdrop_eval.benchmarks.rendered.suite")
        yield Finding("warn", "rendered suite", "is rendered by the first run (a minute)", fix)
        return

    def look(task: str) -> Finding:
        info = describe(task, "rendered")
        if info.installed and config.data.root is None:
            fix = "suite=paper, or data.root=<folder>"
            return Finding("FAIL", task, "not among the rendered questions", fix)
        rows = find_rendered(info, folder)[1]
        return Finding("ok", task, f"{rows} rows in {folder}")

    yield from _all(look, tasks)


def judge(config: RunSpec) -> Iterator[Finding]:
    """MM-Vet's judge, from its settings; it is not asked."""
    from pdrop_eval.benchmarks.judging.client import make_judge

    if config.suite.own is not None:  # its metrics need none
        return
    try:
        chosen = make_judge(config.judge)
    except UserError as error:
        yield Finding("FAIL", "judge", str(error))
        return
    if chosen is None:
        fix = "judge.model=<name>, when it is wanted"
        named = " and ".join([*(["MM-Vet's"] if "mmvet" in _tasks(config) else []), *_asking(config)])
        if not named:
            yield Finding("ok", "judge", "none of the tasks needs one")
            return
        yield Finding("warn", "judge", f"none: {named} answers are kept, but not scored", fix)
    else:
        said = chosen.describe()
        yield Finding("ok", "judge", f"{said['model']} at {said['base_url']} (not asked now)")


def _asking(config: RunSpec) -> list[str]:
    """The tasks of lmms-eval's own files whose scoring asks a language model, or may."""
    from pdrop_eval.benchmarks.installed.kinds import may_ask
    from pdrop_eval.benchmarks.task_files import describe

    tasks = _tasks(config)
    installed = [task for task in tasks if describe(task, config.suite.source).installed]
    return [f"{task}'s" for task in installed if may_ask(task)]


def data_from_hub(config: RunSpec) -> bool:
    """Whether the run's data come from the Hub."""
    return bool(config.suite.source == "hub" and config.data.root is None)


def model_from_hub(config: RunSpec) -> bool:
    """Whether the run's checkpoint comes from the Hub."""
    if config.endpoint is not None:
        return False
    try:
        return not isinstance(resolve_checkpoint(config.model.pretrained), Path)
    except UserError:
        return False
