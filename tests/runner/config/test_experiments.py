"""Experiments: the runs of each table, which of them are chosen, and what is left out."""

import shutil
import sys

import pytest
import runner_tiny as tiny
from omegaconf import OmegaConf

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.models.loading import checkpoint
from pdrop_eval.records.store import load_records
from pdrop_eval.report.tables.spec import TABLES
from pdrop_eval.run.config.compose import compose_config
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate import cli, experiments
from pdrop_eval.run.evaluate.experiments import _overrides
from pdrop_eval.run.evaluate.run_list import run_list
from pdrop_eval.utils import distributed
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import CONF, options
from pdrop_eval.utils.presets import DEFAULT_MODEL, DEFAULT_SIZE, model_configs


def experiment(name):
    return OmegaConf.load(CONF / "experiment" / f"{name}.yaml")


def row(run):
    """A run as a row of a table: architecture, patches, training, its lambda, inference, its lambda."""
    model = model_configs()[run["model"]]
    settings = dict(one.split("=") for one in run.get("overrides", []))
    ratio = settings.get("strategy.ratio")
    train = (model["architecture"], model["patches"], model["train"], model["train_ratio"])
    return (*train, run["strategy"], None if ratio is None else float(ratio))


def published_rows(table):
    keys = [row.key for row in TABLES[int(table)].published]
    return {(k.architecture, k.patches, k.train, k.train_ratio, k.strategy, k.ratio) for k in keys}


@pytest.mark.parametrize("table", "12345")
def test_the_7b_runs_of_a_table_are_its_published_rows(table):
    runs = [run for run in experiment(f"table{table}").runs if model_configs()[run.model]["size"] == "7b"]
    assert len(runs) == len(published_rows(table))
    assert {row(run) for run in runs} == published_rows(table)


@pytest.mark.parametrize("table", "12345")
def test_the_miniatures_run_the_same_rows(table):
    sizes = {name: model["size"] for name, model in model_configs().items()}
    runs = [run for run in experiment(f"table{table}").runs if sizes[run.model] == DEFAULT_SIZE]
    rows = {row(run) for run in runs}
    assert len(runs) == len(rows)
    # Of what is trained with PyramidDrop, they have lambda 0.5 alone
    theirs = {one for one in published_rows(table) if one[3] in (None, 0.5)}
    # Tables 2 and 3 have LLaVA-NeXT alone; the miniature LLaVA-1.5 does what its five patches do
    more = {("llava-1.5", 1, *one[2:]) for one in theirs if one[1] == 5}
    assert rows == theirs | more


@pytest.mark.parametrize("table", "12345")
def test_a_tables_tasks_are_its_published_benchmarks(table):
    columns = set(TABLES[int(table)].columns)
    assert set(experiment(f"table{table}").tasks) == {benchmarks()[key].task for key in columns}


def kinds(runs):
    """Of runs that differ in a value alone, the first."""
    found = {}
    for run in runs:
        keys = tuple(one.partition("=")[0] for one in run.get("overrides", []))
        strategy = run["strategy"] if run["strategy"] in ("vanilla", "fastv", "pdrop") else "another"
        found.setdefault((run["model"], strategy, keys), run)
    return list(found.values())


@pytest.mark.thin(2)
@pytest.mark.parametrize("choose", [kinds, pytest.param(list, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", options("experiment"))
def test_every_run_of_every_experiment_composes(name, choose):
    config = compose_config([f"experiment={name}"])
    runs = choose(run_list(OmegaConf.to_container(config.runs)))
    assert len(runs) >= 4
    for run in runs:
        composed = compose_config(_overrides(run, config, [], {}))
        size = model_configs()[run["model"]]["size"]
        assert (composed.model.name, composed.model.size) == (run["model"], size)
        assert composed.suite.name == {"mini": "mini", "mini576": "mini", "7b": "paper"}[size]
        assert list(composed.tasks) == list(config.tasks)
        assert composed.runs is None


def command(monkeypatch, *arguments):
    """Runs the console script in this process; returns its exit status."""
    monkeypatch.setattr(sys, "argv", ["pdrop-eval", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as leaving:
        return leaving.code
    return 0


@pytest.fixture
def asked(monkeypatch):
    """The runs that an experiment would evaluate, with the tasks and suite of each."""
    runs = []

    def note(config, advise, models=None):
        assert not advise  # what to run next is the experiment's to say
        field = config.strategy.settings.get("ratio")
        runs.append(
            (
                config.model.name,
                config.strategy.name,
                field,
                config.suite.name,
                config.tasks,
                config.limit,
            )
        )

    monkeypatch.setattr(cli, "evaluate", note)
    monkeypatch.setattr(experiments, "resolve_checkpoint", lambda _: None)
    return runs


def test_the_miniatures_are_the_default(asked, monkeypatch, capsys):
    assert command(monkeypatch, "experiment=table4", "limit=2") == 0
    tasks = ("mme", "mmbench_en_dev", "gqa", "mmbench_cn_dev", "seedbench", "docvqa_val", "infovqa_val")
    common = ("mini", tasks, 2)
    assert asked == [
        (name, strategy, ratio, *common)
        for base in ("mini576_next_p5", "mini576")
        for name, strategy, ratio in [(base, "vanilla", None), (f"{base}_pdrop_05", "pdrop", 0.5)]
    ]
    assert "4 of 4 runs are done." in capsys.readouterr().out


def test_without_a_miniature_of_the_usual_size_the_first_runs_size_is_the_default(asked, monkeypatch):
    assert command(monkeypatch, "experiment=qwen", "strategy=vanilla", "tasks=[gqa]") == 0
    assert [run[:4] for run in asked] == [("mini_qwen2_5_vl", "vanilla", None, "mini")]


def test_a_size_brings_its_suite_unless_one_is_given(asked, monkeypatch):
    assert command(monkeypatch, "experiment=table5", "size=7b", "tasks=[gqa]") == 0
    assert {(name, suite, tasks) for name, _, _, suite, tasks, _ in asked} == {
        ("llava_1_5_7b", "paper", ("gqa",)),
        ("llava_next_7b", "paper", ("gqa",)),
    }
    asked.clear()
    assert command(monkeypatch, "experiment=table5", "model=llava_1_5_7b", "suite=mini") == 0
    assert {run[:4] for run in asked} == {
        ("llava_1_5_7b", *chosen, "mini") for chosen in (("vanilla", None), ("fastv", None), ("pdrop", 0.5))
    }


def test_a_model_or_a_strategy_picks_single_runs(asked, monkeypatch):
    assert command(monkeypatch, "experiment=table5", "model=llava_1_5_7b", "strategy=fastv") == 0
    assert [run[:4] for run in asked] == [("llava_1_5_7b", "fastv", None, "paper")]


def test_a_strategy_that_is_not_listed_gets_the_models_and_budgets_of_the_others():
    budget = ["budget.share=0.5"]
    listed = [
        {"model": "mini", "strategy": "vanilla"},
        {"model": "mini", "strategy": "pdrop", "overrides": budget},
        {"model": "mini_next_p5", "strategy": "pdrop", "overrides": budget},
    ]
    found = experiments._chosen(listed, {"strategy": "fastv"})
    assert [(run["model"], run["overrides"]) for run in found] == [
        ("mini", []),
        ("mini", budget),
        ("mini_next_p5", budget),
    ]
    assert {run["strategy"] for run in found} == {"fastv"}
    with pytest.raises(UserError, match=r"Unknown strategy: 'fastw'.*Did you mean fastv"):
        experiments._chosen(listed, {"strategy": "fastw"})


def test_a_strategy_takes_no_settings_of_another(asked, monkeypatch, capsys):
    assert command(monkeypatch, "experiment=figure1", "strategy=fastv") == 2
    assert "the settings of vanilla, pdrop there are their own" in capsys.readouterr().err
    assert asked == []


def test_several_experiments_are_a_sweep(asked, monkeypatch):
    given = ["-m", "experiment=table1,table3", "model=mini576"]
    assert command(monkeypatch, *given) == 0
    assert [run[:2] for run in asked] == [
        ("mini576", "vanilla"),
        ("mini576", "vanilla"),
        ("mini576", "fastv"),
    ]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["size=13b"], ["'13b'", "mini576, 7b"]),
        (
            ["model=llava_next_7b_p9"],
            ["'llava_next_7b_p9'", "mini576_next_p5", "Did you mean llava_next_7b?"],
        ),
        (["strategy.ratio=0.4"], ["strategy.ratio", "experiment="]),
        (["model.pretrained=somewhere"], ["2 models", "mini576_next_p5, mini576"]),
        (["limit=2,4"], ["Add -m"]),
    ],
)
def test_what_an_experiment_cannot_be_told_is_refused(asked, monkeypatch, capsys, overrides, words):
    assert command(monkeypatch, "experiment=table5", *overrides) == 2
    message = capsys.readouterr().err
    assert asked == []
    assert message.startswith("pdrop-eval: ")
    for word in words:
        assert word in message


@pytest.mark.parametrize(("theirs", "words"), [
    ({"runs": "[1/1] model=mini576 strategy=pdrop"}, "they differ in runs (process 0: [1/3] model=mini"),
    ({"left out": {"[2/3] model=mini576 strategy=fastv": "not here"}},
     "they differ in left out.[2/3] model=mini576 strategy=fastv (process 0: None, process 1: not here)"),
], ids=["other runs", "a checkpoint that one lacks"])  # fmt: skip
def test_processes_of_an_experiment_that_differ_end_before_its_first_run(
    asked, monkeypatch, capsys, theirs, words
):
    monkeypatch.setattr(distributed, "_failed_together", False)
    monkeypatch.setattr(distributed, "gather", lambda ours: [ours, theirs if {*ours} == {*theirs} else ours])
    assert command(monkeypatch, "experiment=table5", "model=mini576") == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert asked == []


def test_what_the_first_process_refuses_is_left_out_in_all(asked, monkeypatch):
    def refuse(config, models=None):
        if config.strategy.name == "fastv":
            raise distributed.ElsewhereError("its model isn't here")

    monkeypatch.setattr(cli, "check", refuse)
    monkeypatch.setattr(experiments, "note_left_out", lambda *_: None)
    assert command(monkeypatch, "experiment=table5", "model=mini576", "keep_going=true") == 0
    assert [run[1] for run in asked] == ["vanilla", "pdrop"]


@pytest.mark.slow
def test_a_run_without_its_checkpoint_is_left_out_with_one_line(llava, data, tmp_path, monkeypatch, capsys):
    for name in ("mini576", "mini576_pdrop_05"):
        shutil.copytree(llava, tmp_path / "checkpoints" / name)
    monkeypatch.setattr(checkpoint, "MINI_CHECKPOINTS", tmp_path / "checkpoints")
    given = ["experiment=table3", f"data.root={data}", f"results={tmp_path}/runs", "tasks=[pope]", "limit=4"]
    assert command(monkeypatch, *given) == 0
    captured = capsys.readouterr()
    assert "4 of 8 runs are done; 4 left out" in captured.out
    said = " ".join(captured.err.split())
    assert "[3/8] model=mini576_next_p5 strategy=fastv: left out. The embedded" in said
    assert "The embedded checkpoint 'mini576_next' isn't in this installation." in said
    assert max(map(len, captured.err.splitlines())) <= 80 + len(str(tmp_path))  # a path is not broken
    records = load_records(tmp_path / "runs")
    assert {(r["model"]["name"], r["model"]["train"], r["strategy"]["name"]) for r in records} == {
        ("mini576", "vanilla", "vanilla"),
        ("mini576", "vanilla", "fastv"),
        ("mini576_pdrop_05", "pdrop", "fastv"),
        ("mini576_pdrop_05", "pdrop", "pdrop"),
    }
    monkeypatch.setattr(cli, "_run", lambda *_: pytest.fail("a finished run was computed again"))
    assert command(monkeypatch, *given) == 0


def test_an_experiment_of_which_nothing_can_be_run_says_why(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoint, "MINI_CHECKPOINTS", tmp_path)
    assert command(monkeypatch, "experiment=table5", "model=mini576_next_p5") == 2
    assert "None of the 3 runs" in (message := capsys.readouterr().err)
    assert "isn't in this installation" in message
    assert f"Use model={DEFAULT_MODEL}, or give" in " ".join(message.split())


def test_a_subset_takes_the_place_of_a_runs_own_limit():
    config = compose_config(["experiment=table5", "results=x"])
    run = {"model": "mini576_next_p5", "strategy": "vanilla", "overrides": ["limit=60"]}
    assert "limit=60" in _overrides(run, config, [], {})
    assert "limit=60" not in _overrides(run, config, ["subset=ci64"], {"subset": "ci64"})


def test_a_run_of_an_experiment_is_the_same_run_without_it(llava, data, tmp_path):
    config = compose_config(["experiment=table5", "results=x"])
    run = {"model": "mini", "strategy": "pdrop", "overrides": ["strategy.ratio=0.5"]}
    common = [f"data.root={data}", f"results={tmp_path}", f"model.pretrained={llava}"]
    within = compose_spec(_overrides(run, config, common, {}))
    alone = compose_spec(["model=mini", "strategy=pdrop", *common, f"tasks=[{','.join(tiny.TASKS[:2])}]"])
    assert cli.make_plan(within).identity == cli.make_plan(alone).identity


@pytest.mark.parametrize("name", ["llava_1_5_7b_pdrop_05", "llava_next_7b_p9"])
def test_a_7b_checkpoint_that_nobody_publishes_is_asked_for(name):
    with pytest.raises(UserError, match=rf"checkpoints/{name}.*model.pretrained=<folder>"):
        cli.make_plan(compose_spec([f"model={name}"]))


@pytest.mark.parametrize("runs", ["3", "[]", "[{model: mini}]", "[{model: mini, strategy: pdrop, limit: 4}]"])
def test_a_list_of_runs_that_is_none_is_refused(runs):
    config = compose_config([f"runs={runs}"])
    with pytest.raises(UserError, match="is no list of runs"):
        experiments.run_experiment(config, [], lambda *_: None)


def test_one_of_several_strategies_takes_settings_of_its_own():
    runs = run_list([{
        "model": "mini576", "strategies": ["random", "uniform"], "tokens": [64], "overrides": ["limit=2"],
        "own": {"random": ["strategy.seed=3"]},
    }])  # fmt: skip
    assert {run["strategy"]: run["overrides"] for run in runs} == {
        "random": ["budget.tokens=64", "limit=2", "strategy.seed=3"],
        "uniform": ["budget.tokens=64", "limit=2"],
    }


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({"pdrop": ["strategy.ratio=0.4"]}, "own has settings of pdrop, which is none of strategies="),
        ({"randm": []}, "Did you mean random"),
        ({"random": "strategy.seed=3"}, "write a list of settings for a strategy"),
        ({"random": [3]}, "write a list of settings for a strategy"),
        (["random"], "write a list of settings for a strategy"),
    ],
)
def test_settings_of_a_strategy_that_are_none_are_refused(own, told):
    with pytest.raises(UserError, match=told):
        run_list([{"model": "mini576", "strategies": ["random"], "own": own}])


def test_size_without_an_experiment_is_refused():
    with pytest.raises(UserError, match="Name one: experiment=table5"):
        compose_spec(["size=7b"])
