"""A sweep's lists multiplied out, by hand-counted cells."""

from dataclasses import asdict
from types import SimpleNamespace

import pytest

from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.sweep.engines import engine_of
from pdrop_eval.run.sweep.plan import text
from pdrop_eval.run.sweep.plan.cost import Cost
from pdrop_eval.run.sweep.plan.matrix import Asked, asked_runs, without_effect
from pdrop_eval.run.sweep.plan.runs import command_of
from pdrop_eval.run.sweep.spec import read_sweep
from pdrop_eval.run.sweep.state.definition import base_spec
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import to_plain

TWO_TASKS = "tasks=[gqa,pope]"


def runs(*arguments):
    return asked_runs(read_sweep(list(arguments)))


def cells(*arguments):
    return [
        (run.model, run.label, run.budget, run.seed, task) for run in runs(*arguments) for task in run.tasks
    ]


@pytest.mark.parametrize(("given", "said"), [
    ("models=[endpoint]", "model=endpoint is a model behind a server: only pdrop-eval can ask it"),
    ("tasks=[ocrbench]", r"lmms-eval has it: suite\.tasks=\[ocrbench\]"),
])  # fmt: skip
def test_what_a_sweep_does_not_run_is_refused_with_what_does(given, said):
    with pytest.raises(UserError, match=said):
        runs(given)


def test_budgets_are_for_those_that_take_one():
    """FastV and PyramidDrop at two budgets, vanilla and PruMerge (adaptive) once: 6 runs of 2 tasks."""
    found = cells("strategies=[vanilla,fastv,pdrop,prumerge]", "budgets=[64,{share:0.2}]", TWO_TASKS)
    assert len(found) == 12
    assert [one for one in found if one[1] == "vanilla"] == [
        ("mini576", "vanilla", None, 1, "pope"),
        ("mini576", "vanilla", None, 1, "gqa"),
    ]
    assert {one[2] for one in found if one[1] == "pdrop"} == {("tokens", 64), ("share", 0.2)}
    assert {one[2] for one in found if one[1] == "prumerge"} == {None}


def test_settings_that_a_budget_decides_stand_as_they_are_given():
    found = runs("strategies=[{pdrop:{ratio:0.4}},{fastv:{rope:false}}]", "budgets=[64,32]", "tasks=[gqa]")
    assert [(run.label, run.budget) for run in found] == [
        ("pdrop ratio=0.4", None),
        ("fastv rope=False", ("tokens", 64)),
        ("fastv rope=False", ("tokens", 32)),
    ]


def test_seeds_and_models_multiply_and_vanilla_is_among_all():
    found = runs("models=[mini,mini_next_p5]", "strategies=all", "seeds=[1,2]", "tasks=[gqa]")
    names = {run.strategy for run in found}
    assert {"vanilla", "fastv", "visionzip"} <= names
    assert len(found) == 2 * 2 * len(names)


def test_what_is_excluded_goes_and_what_is_included_comes():
    found = cells(
        "strategies=[fastv,random]", "budgets=[64,32]", TWO_TASKS,
        "exclude=[{strategy:fastv,budget:32},{strategy:random,task:pope}]",
        "include=[{models:[mini576_next_p5],strategies:[fastv],budgets:[{share:0.5}],tasks:[gqa]}]",
    )  # fmt: skip
    assert found == [
        ("mini576", "fastv", ("tokens", 64), 1, "pope"),
        ("mini576", "fastv", ("tokens", 64), 1, "gqa"),
        ("mini576", "random", ("tokens", 64), 1, "gqa"),
        ("mini576", "random", ("tokens", 32), 1, "gqa"),
        ("mini576_next_p5", "fastv", ("share", 0.5), 1, "gqa"),
    ]


def test_a_run_that_is_asked_for_twice_is_one():
    assert len(runs("strategies=[fastv,fastv]", "budgets=[64,64]", "tasks=[gqa]")) == 1


def test_the_command_of_a_run_is_that_of_pdrop_eval():
    spec = read_sweep(
        ["strategies=[{fastv:{rope:false}}]", "budgets=[64]", "tasks=[gqa]", "limit=2", "batch_size=4"]
    )
    (run,) = asked_runs(spec)
    assert command_of(run, spec).partition("pdrop-eval ")[2] == (
        "model=mini576 strategy=fastv strategy.rope=false budget.tokens=64 suite=mini seed=1 'tasks=[gqa]' "
        "limit=2 results=results/runs batch_size=4"
    )


def test_combinations_have_a_command_too():
    spec = read_sweep(["strategies=[{combine:[visionzip,{pdrop:{ratio:0.4}}]}]", "tasks=[gqa]"])
    (run,) = asked_runs(spec)
    assert "'combine=[visionzip,{pdrop:{ratio:0.4}}]'" in command_of(run, spec)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["modles=[mini]"], "Did you mean models?"),
        (["model=mini"], "In a sweep write models=[mini576]"),
        (["strategy.k=3"], "strategies=[fastv"),
        (["budget.tokens=64"], "budgets=[64"),
        (["experiment=table5"], "lists of its own"),
        (["models=[minni]"], "Did you mean mini?"),
        (["strategies=[fastw]"], "Did you mean fastv?"),
        (["strategies=[{fastv:{kk:3}}]"], "kk"),
        (["strategies=[{pdrop:{ratio:7}}]"], "ratio=7"),
        (["strategies=[plain]"], "Use vanilla"),
        (["strategies=[]"], "strategies=[] is empty"),
        (["budgets=[fast]"], "budgets has 'fast'"),
        (["budgets=[{tokns:3}]"], "Did you mean tokens?"),
        (["budgets=[-3]"], "-3"),
        (["tasks=[gqaa]"], "Did you mean gqa?"),
        (["tasks=[]"], "tasks=[] is empty"),
        (["exclude=[{strategy:fastw}]"], "Did you mean fastv?"),
        (["exclude=[{models:[mini]}]"], "Did you mean model?"),
        (["exclude=3"], "no list of blocks"),
        (["exclude=[{task:[pope,gqa]}]", TWO_TASKS], "The sweep is empty"),
        (["retries=-1"], "retries=-1"),
        (["limit=0"], "limit=0"),
        (["batchsize=3"], "batch_size"),
        (['overrides=["model=mini"]'], "models=[mini576]"),
        (["hello"], "name=value"),
    ],
)  # fmt: skip
def test_wrong_input_is_named_with_the_fix(arguments, told):
    with pytest.raises(UserError) as error:
        runs(*arguments)
    assert told in str(error.value)


def test_an_engine_that_there_is_not_is_named():
    with pytest.raises(UserError, match=r"Unknown engine: 'locl'.* Did you mean local?"):
        engine_of("locl")


@pytest.fixture
def own_data(monkeypatch):
    """A folder of own data as the settings name it; what they remember of it goes with the test."""
    monkeypatch.setattr("pdrop_eval.run.config.own_data.remember_own", lambda name, metric: None)
    return ["data.folder=shapes", "data.metric=exact_match"]


def test_a_folder_of_own_data_is_the_only_suite(own_data):
    """Two strategies on the folder's one task; the command of a run names no suite and no task beside it."""
    arguments = ["strategies=[vanilla,pdrop]", "limit=3", *own_data]
    found = runs(*arguments)
    assert [(run.label, run.suite, run.tasks) for run in found] == [
        ("vanilla", "shapes_exact_match", ("shapes_exact_match",)),
        ("pdrop", "shapes_exact_match", ("shapes_exact_match",)),
    ]
    assert command_of(found[1], read_sweep(arguments)).partition("pdrop-eval ")[2] == (
        "model=mini576 strategy=pdrop seed=1 limit=3 results=results/runs "
        "data.folder=shapes data.metric=exact_match"
    )


@pytest.mark.parametrize("named", ["suites=[mini]", "tasks=[gqa]", "include=[{tasks:[gqa]}]"])
def test_a_folder_of_own_data_takes_no_other_questions(named, own_data):
    with pytest.raises(UserError, match=r"(suites|tasks)= can't be given with data\.folder=shapes"):
        runs(named, *own_data)


def test_a_worker_knows_a_folder_of_own_data_from_the_definition(own_data, monkeypatch):
    """It reads the settings as they were written, and composes none itself, which is what remembers them."""
    known = []
    monkeypatch.setattr(
        "pdrop_eval.run.sweep.state.definition.remember_own",
        lambda *one: known.append(one),
    )
    spec = compose_spec(own_data)
    assert base_spec({"spec": to_plain(asdict(spec))}) == spec
    assert known == [("shapes_exact_match", "exact_match")]


def test_words_tell_each_run_from_all_others(tmp_path):
    given = ["strategies=[random,{pdrop:{ratio:0.4}}]", "budgets=[64]", "suites=[mini,paper]", "seeds=[1,2]"]
    found = asked_runs(read_sweep([*given, "tasks=[gqa]", f"results={tmp_path}"]))
    assert [run.words for run in found] == [
        f"{strategy}{seed}{budget}, mini576{suite}"
        for suite in ("", " suite=paper")
        for seed in ("", " seed=2")
        for strategy, budget in (("random", ", tokens=64"), ("pdrop ratio=0.4", ""))
    ]


def test_a_name_that_is_too_long_for_its_column_goes_on_beneath(tmp_path):
    fields = (("ratio", 0.4), ("stages", 4), ("positions", "renumber"))
    asked = Asked("mini_next_p5", "pdrop", fields, None, "paper", 2, ("gqa", "pope"))
    plan = SimpleNamespace(tasks=["gqa", "pope"])
    run = SimpleNamespace(asked=asked, cost=Cost(360.0, 9.52e-4), plan=plan, missing=["pope"])
    lines = text.run_lines(run)
    assert [*lines] == [
        "mini_next_p5    pdrop ratio=0.4         -             360.0 0.000952     2     1",
        "suite=paper     stages=4",
        "                positions=renumber",
        "                seed=2",
    ]


def test_a_block_of_exclude_that_holds_for_nothing_is_told():
    blocks = "exclude=[{strategy:fastv},{budget:63},{task:mme,model:mini576},{strategy:pdrop,budget:64}]"
    found = without_effect(read_sweep(["strategies=[fastv,pdrop]", "budgets=[64,32]", TWO_TASKS, blocks]))
    assert found == ["{budget:63}", "{task:mme,model:mini576}"]
    assert without_effect(read_sweep([TWO_TASKS])) == []
