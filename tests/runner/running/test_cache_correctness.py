"""An answer that was kept is used again only for the very same question, model and settings."""

import shutil
from pathlib import Path

import datasets
import pytest
import runner_tiny as tiny
from safetensors.torch import load_file, save_file

from pdrop_eval.records.store import load_samples
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate import cli

pytestmark = pytest.mark.usefixtures("lmms_eval")


@pytest.fixture(scope="module")
def stopped(llava, data, tmp_path_factory, lmms_eval):
    """A checkpoint, a suite, and a run that died when all was answered, before the record was written."""
    place = tmp_path_factory.mktemp("stopped")
    shutil.copytree(llava, place / "checkpoint")
    (place / "data").mkdir()
    shutil.copy(data / "gqa.parquet", place / "data")
    stop_before_the_end(place)
    return place


@pytest.fixture
def place(stopped, tmp_path):
    """The same once more, which a test may change."""
    return shutil.copytree(stopped, tmp_path / "place")


class Killed(BaseException):
    """What ends a process without giving it the chance to clean up."""


def run(place, *overrides, strategy="pdrop"):
    given = [
        f"model.pretrained={place / 'checkpoint'}", f"data.root={place / 'data'}",
        f"results={place / 'results'}", f"strategy={strategy}", "tasks=[gqa]", "batch_size=2",
    ]  # fmt: skip
    with tiny.short_answers():
        return cli.evaluate(compose_spec([*given, *overrides]))


def stop_before_the_end(place):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pdrop_eval.records.store.Run.add_task", killed)
        with pytest.raises(Killed):
            run(place)


def killed(*_args, **_more):
    raise Killed


def recalled(record):
    return record["tasks"]["gqa"]["usage"]["recalled"]


def test_the_same_run_uses_all_that_was_kept(place):
    assert recalled(run(place)) == 6


FAST = ["strategy.ratio=0.4", "dtype=bfloat16", "model.image_processing=pad", "seed=2", "batch_size=3"]
SLOW = [
    "strategy.stages=2", "strategy.rank_with=last_layer", "strategy.score=logits",
    "strategy.rounding=progressive", "strategy.positions=keep", "attention=eager",
    "model.chat_template=vicuna", "model.max_new_tokens=3", "downsample=2", "limit=4",
]  # fmt: skip


@pytest.mark.thin(2)
@pytest.mark.parametrize(
    "change", [*FAST, *(pytest.param(change, marks=pytest.mark.slow) for change in SLOW)]
)
def test_another_setting_uses_nothing(place, change):
    assert recalled(run(place, change)) == 0


def test_another_strategy_uses_nothing(place):
    assert recalled(run(place, strategy="fastv")) == 0


def test_one_other_weight_uses_nothing(place):
    [path] = (place / "checkpoint").glob("*.safetensors")
    weights = load_file(path)
    next(iter(weights.values())).view(-1)[0] += 1
    save_file(weights, path, {"format": "pt"})
    assert recalled(run(place)) == 0


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        *(
            pytest.param(name, marks=pytest.mark.slow)  # one hash has them all
            for name in ("tokenizer.json", "processor_config.json", "chat_template.jinja")
        ),
    ],
)
def test_another_file_of_the_checkpoint_uses_nothing(place, name):
    path = place / "checkpoint" / name
    path.write_text(path.read_text() + "\n")
    assert recalled(run(place)) == 0


def rewritten(place, change):
    """Writes the suite's rows anew, after `change` has had its way with them."""
    rows = tiny.rows("gqa", 6)
    change(rows)
    tiny.write("gqa", rows, place / "data")


def test_another_question_or_picture_uses_nothing(place):
    rewritten(place, lambda rows: rows[5].update(question="Another question?"))
    assert recalled(run(place)) == 0


def downloaded(place, monkeypatch, change):
    """Recalled answers after a change of data whose hash is no part of the run: the task's own is."""
    from pdrop_eval.benchmarks.data import prepare as data

    prepare = data.prepare_data

    def as_from_the_hub(suite, root, tasks):
        found = prepare(suite, root, tasks)
        return data.Data(found.folder, {}, found.sha256, {}, {})

    monkeypatch.setattr(data, "prepare_data", as_from_the_hub)
    stop_before_the_end(place)
    rewritten(place, change)
    record = run(place)
    return recalled(record), load_samples(Path(record["folder"]), "gqa")


def test_of_downloaded_data_that_changed_nothing_is_used(place, monkeypatch):
    count, samples = downloaded(place, monkeypatch, lambda rows: rows[5].update(question="Another?"))
    assert count == 0
    assert "Another?" in samples[5]["prompt"]


@pytest.mark.parametrize("same", [True, False])
def test_even_with_an_equal_file_hash_pixels_and_words_are_compared(place, monkeypatch, same):
    """Were a hash of the data wrong, the content of each question would still tell."""
    from pdrop_eval.benchmarks.data import prepare as data

    monkeypatch.setattr(data, "_content", lambda *_: ("0" * 64, False))
    stop_before_the_end(place)
    picture = tiny.encoded(2 if same else 99)

    def change(rows):  # of one of the two questions about picture 2
        rows[5]["image"] = picture

    rewritten(place, change)
    datasets.disable_caching()
    record = run(place)
    datasets.enable_caching()
    assert recalled(record) == (6 if same else 5)


def test_a_prompt_of_the_task_that_changed_uses_nothing(place, monkeypatch):
    from lmms_eval.api.task import ConfigurableTask

    text = ConfigurableTask.doc_to_text
    monkeypatch.setattr(ConfigurableTask, "doc_to_text", lambda self, doc: f"{text(self, doc)} Be brief.")
    assert recalled(run(place)) == 0


def test_other_generation_settings_of_the_task_use_nothing(place, monkeypatch):
    from pdrop_eval.run.lmms import answer_log

    question = answer_log._question

    def longer(asked):
        found = question(asked)
        return {**found, "generation": {**found["generation"], "max_new_tokens": 17}}

    monkeypatch.setattr(answer_log, "_question", longer)
    assert recalled(run(place)) == 0
