"""What makes a record stale: all that decides its numbers, and nothing else."""

import shutil

import pytest
import runner_tiny as tiny

from pdrop_eval.benchmarks import registry, task_files
from pdrop_eval.records import run_identity
from pdrop_eval.records.store import Run
from pdrop_eval.run.config import compose
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate.plan import make_plan
from pdrop_eval.utils import paths
from pdrop_eval.utils.code.source_code import code_sha256, import_closure

TASKS = ["gqa", "ocrvqa"]
HEADER = {"model": {"name": "mini"}, "strategy": {"name": "pdrop"}}
ENTRY = {"benchmark": "b", "score": 50.0, "n": 8}
UNIFORM = '''
from dataclasses import dataclass
from pdrop_eval.strategies.base import Strategy

@dataclass
class Uniform(Strategy):
    """Drops evenly."""
    name = "uniform"
'''


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A copy of the package, the tasks and the configuration, which the identity is read from."""
    package, tasks, conf = (tmp_path / name for name in ("pdrop_eval", "tasks", "conf"))
    shutil.copytree(
        paths.PACKAGE, package, ignore=shutil.ignore_patterns("checkpoints", "__pycache__", "assets")
    )
    shutil.copytree(paths.TASKS, tasks)
    shutil.copytree(paths.CONF, conf)
    monkeypatch.setattr(paths, "PACKAGE", package)
    for module in (paths, compose):
        monkeypatch.setattr(module, "CONF", conf)
    monkeypatch.setattr(registry, "PACKAGE", package)
    monkeypatch.setattr(task_files, "PACKAGE", package)
    monkeypatch.setattr(task_files, "TASKS", tasks)
    forget()
    yield tmp_path
    forget()


def forget():
    """What is read once in a process is read again."""
    for function in (
        registry.registered,
        registry.benchmarks,
        registry.by_task,
        task_files.describe,
        run_identity._code_sha256,
    ):
        function.cache_clear()


@pytest.fixture
def stale(tree, llava, data, tmp_path, monkeypatch):
    """Writes the record of pdrop on two tasks, then says what of it is stale: a list of tasks, or "all"."""

    def plan(*overrides, checkpoint=llava, root=data):
        forget()
        given = ["model=mini", f"model.pretrained={checkpoint}", f"data.root={root}"]
        given += [f"tasks=[{','.join(TASKS)}]", f"results={tmp_path / 'runs'}"]
        config = compose_spec([*given, *overrides])
        return make_plan(config)

    monkeypatch.setattr("os.fsync", lambda _: None)  # only slow here
    made = plan()
    with Run.open(tmp_path / "runs", "mini", "pdrop", made.identity, HEADER) as run:
        for task in TASKS:
            decides = {"data_sha256": made.data.sha256[task], "task_sha256": made.task_sha256[task]}
            run.add_task(task, {**ENTRY, **decides}, [])

    def missing(*overrides, **places):
        now = plan(*overrides, **places)
        record = now.existing_record()
        return "all" if record is None else now.missing(record)

    assert missing() == []
    return missing


def add(path, text):
    """Appends to a file, which may be new."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(text)


def put_first(path, old, new):
    """Replaces the first time that a text stands in a file."""
    text = path.read_text(encoding="utf-8")
    assert old in text, (path, old)
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_what_decides_nothing_leaves_every_record_current(tree, stale):
    package, tasks = tree / "pdrop_eval", tree / "tasks"
    add(package / "strategies" / "uniform.py", UNIFORM)
    add(package / "strategies" / "fastv.py", "\nOTHER = 1\n")
    add(package / "models" / "families" / "llava_next.py", "\nOTHER = 1\n")
    add(package / "models" / "families" / "qwen.py", '"""Qwen."""\n')
    for name in (
        "strategies/pyramiddrop.py",
        "engine/phases/prefill.py",
        "run/lmms/model.py",
        "strategies/base.py",
    ):
        put_first(package / name, '"""', '"""In other words. ')  # the docstring of the module
        put_first(package / name, "\nclass ", "\n# A comment.\nclass ")
    put_first(
        package / "strategies" / "pyramiddrop.py", "ratio: lambda, the share", "ratio: the share lambda"
    )
    put_first(package / "strategies" / "pyramiddrop.py", '"#0072B2"', '"#0072B3"')  # a colour
    add(package / "report" / "tables" / "fill.py", "\nOTHER = 1\n")
    put_first(package / "report" / "tables" / "specs" / "table5.yaml", "\n", "\nother: 1\n")
    add(package / "report" / "tables" / "specs" / "other.yaml", "rows: []\n")
    put_first(package / "run" / "config" / "compose.py", "a budget decides that itself", "the budget does")
    put_first(package / "utils" / "terminal" / "cli.py", "can't be composed", "is wrong")
    put_first(package / "run" / "evaluate" / "cli.py", "def main", "OTHER = 1\n\n\ndef main")
    add(package / "run" / "train" / "trainer.py", "\nOTHER = 1\n")
    pdrop = (tree / "conf" / "strategy" / "pdrop.yaml").read_text(encoding="utf-8")
    add(package / "benchmarks" / "gqa.py", "\nOTHER = 1\n")  # the rendered GQA doesn't use it
    rules = package / "benchmarks" / "scoring" / "rules"
    add(rules / "median.py", "class Median:\n    name = 'median'\n")
    add(rules / "pair_sum.py", "\nOTHER = 1\n")  # MME's
    add(tree / "conf" / "strategy" / "pdrop_twice.yaml", pdrop.replace("stages: 4", "stages: 2"))
    entries = package / "benchmarks" / "benchmarks.yaml"
    gqa = entries.read_text(encoding="utf-8").split("- key: gqa")[1].split("- key: ")[0]
    add(entries, f"\n- key: other{gqa}".replace("task: gqa", "task: other"))
    put_first(entries, "name: GQA", "name: G.Q.A.")
    add(tasks / "rendered" / "other.yaml", "task: other\n")
    add(tasks / "hub" / "pope.yaml", "\nrepeats: 2\n")
    add(tasks / "rendered" / "gqa.yaml", "\n# A comment.\n")
    assert stale() == []


# One of each kind in the fast run, all in the slow one.
DECIDES = ("strategies/pyramiddrop.py", "models/rotary.py", "models/families/llava.py", "run/lmms/model.py")
ALSO_DECIDES = (
    "strategies/base.py",
    "strategies/make.py",
    "engine/context.py",
    "engine/phases/prefill.py",
    "models/prompts.py",
    "models/loading/load.py",
    "models/family/multimodal.py",
    "models/pictures/token_grid.py",  # a helper that the family imports
    "utils/code/hashing.py",  # a helper that the wrapper imports
    "run/lmms/tasks/task_runner.py",
    "run/lmms/open.py",
    "benchmarks/scoring/score.py",
    "benchmarks/scoring/metric.py",
    "efficiency/flops.py",
)


@pytest.mark.thin(2)
@pytest.mark.parametrize(
    "name", [*DECIDES, *(pytest.param(name, marks=pytest.mark.slow) for name in ALSO_DECIDES)]
)
def test_other_code_that_decides_makes_all_of_a_run_stale(tree, stale, name):
    add(tree / "pdrop_eval" / name, "\nOTHER = 1\n")
    assert stale() == "all"


def test_a_module_that_is_imported_only_now_counts_too(tree, stale):
    package = tree / "pdrop_eval"
    add(package / "engine" / "more.py", "FACTOR = 1\n")
    assert stale() == []
    add(package / "strategies" / "base.py", "\ndef other():\n    from pdrop_eval.engine.more import FACTOR\n")
    assert stale() == "all"


@pytest.mark.thin(1)
@pytest.mark.parametrize(
    ("setting", "strategy"),
    [("strategy.ratio=0.6", "pdrop"), ("seed=2", "pdrop"), ("limit=2", "pdrop"), ("strategy=fastv", "fastv")],
)
def test_another_setting_is_another_run(stale, setting, strategy):
    assert stale(setting) == "all"


def test_other_packages_weights_or_data_are_another_run(stale, llava, data, tmp_path, monkeypatch):
    shutil.copytree(llava, other := tmp_path / "other")
    assert stale(checkpoint=other) == []
    add(other / "generation_config.json", " ")
    assert stale(checkpoint=other) == "all"
    shutil.copytree(data, moved := tmp_path / "moved")
    assert stale(root=moved) == []
    tiny.write("gqa", tiny.rows("gqa", 4), moved)
    assert stale(root=moved) == "all"
    here = run_identity.version
    monkeypatch.setattr(run_identity, "version", lambda name: "9.9" if name == "torch" else here(name))
    assert stale() == "all"


@pytest.mark.thin(2)
@pytest.mark.parametrize(
    "setting", ["workers=0", "feature_cache=0", "prefix_cache=off", "log=text", "untested_packages=true"]
)
def test_what_changes_no_answer_is_no_other_run(stale, setting):
    assert stale(setting) == []


@pytest.mark.thin(2)
@pytest.mark.parametrize(
    ("name", "old", "new", "tasks"),
    [
        ("tasks/rendered/gqa.yaml", "process_docs: null", "process_docs: null\nrepeats: 2", ["gqa"]),
        ("tasks/hub/gqa.yaml", "include:", "repeats: 2\ninclude:", ["gqa"]),
        ("pdrop_eval/benchmarks/benchmarks.yaml", "task: gqa\n", "task: gqa\n  judge: true\n", ["gqa"]),
        ("pdrop_eval/benchmarks/scoring/rules/mean.py", "weights = 100", "weights = 50", ["ocrvqa", "gqa"]),
        ("pdrop_eval/benchmarks/functions.py", "def ", "OTHER = 1\n\n\ndef ", ["ocrvqa"]),
    ],
)
def test_what_decides_one_task_makes_that_task_stale(tree, stale, name, old, new, tasks):
    put_first(tree / name, old, new)
    assert stale() == tasks


def test_a_setting_that_is_null_is_the_same_as_none():
    known = {"seed": 1, "model": {"name": "mini"}, "suite": {"name": "mini"}}
    newer = {**known, "later": None, "model": {"name": "mini", "later": None}}
    assert run_identity.settings_sha256(newer) == run_identity.settings_sha256(known)
    assert run_identity.settings_sha256({**newer, "later": 0}) != run_identity.settings_sha256(known)


@pytest.mark.thin(1)
@pytest.mark.parametrize(
    ("name", "tasks"),
    [("gqa.py", ["gqa"]), ("scoring/rules/category_f1.py", ["pope"]), ("scoring/rules/pair_sum.py", ["mme"])],
)
def test_a_module_that_one_task_needs_is_of_that_task_only(tree, name, tasks):
    names = task_files.task_names("hub")
    before = {task: task_files.task_sha256(task, "hub") for task in names}
    code = run_identity.code_sha256("pdrop_eval.strategies.fastv.FastV")
    add(tree / "pdrop_eval" / "benchmarks" / name, "\nOTHER = 1\n")
    forget()
    assert [task for task in names if task_files.task_sha256(task, "hub") != before[task]] == tasks
    assert run_identity.code_sha256("pdrop_eval.strategies.fastv.FastV") == code


def test_a_strategy_of_the_users_own_counts_with_its_file(tmp_path, monkeypatch):
    own = tmp_path / "my_own_strategy.py"
    own.write_text(UNIFORM, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    forget()
    first = run_identity.code_sha256("my_own_strategy.Uniform")
    assert run_identity.registered_name("my_own_strategy.Uniform") == "uniform"
    add(own, "\n# A comment.\n")
    forget()
    assert run_identity.code_sha256("my_own_strategy.Uniform") == first
    add(own, "\nOTHER = 1\n")
    forget()
    changed = run_identity.code_sha256("my_own_strategy.Uniform")
    assert changed["sha256"] == first["sha256"]
    assert changed["strategy"] != first["strategy"]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("fastv", "FastV"),
        ("vtw", "VTW"),
        ("fitprune", "FitPrune"),
        ("visionzip", "VisionZip"),
        ("visionzip", "VisionZip+pdrop_eval.strategies.fastv.FastV"),
    ],
)
def test_of_the_strategies_only_the_chosen_one_is_read(module, name):
    shared = import_closure([f"pdrop_eval.{name}" for name in run_identity._SHARED], paths.PACKAGE)
    own = run_identity.strategy_modules(f"pdrop_eval.strategies.{module}.{name}", paths.PACKAGE)
    named = {name.removeprefix("pdrop_eval.") for name in (*shared, *own)}
    assert f"strategies.{module}" in named
    assert not named & {"strategies.pyramiddrop", "strategies.vanilla"}
    assert not named & {"strategies.registry", "utils.terminal.cli", "records.run_identity"}
    elsewhere = ("report", "run.config", "run.train", "run.bench", "run.evaluate")
    assert not any(name.startswith(elsewhere) for name in named)


def test_the_hash_is_of_what_is_said_not_of_how(tmp_path):
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text('"""A."""\nx = ("a" "b")  # why\n\n\ndef f():\n    """B."""\n    return x\n')
    other.write_text('x = "ab"\ndef f(): return x\n')
    assert code_sha256(one) == code_sha256(other)
    other.write_text('x = "ab"\ndef f(): return x, x\n')
    assert code_sha256(one) != code_sha256(other)
