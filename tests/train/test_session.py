"""Trainings of a few steps: what learns, what is written, and how a training goes on."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlavaForConditionalGeneration

from pdrop_eval.errors import UserError
from pdrop_eval.paths import MINI_CHECKPOINTS
from pdrop_eval.train.plan import make_plan
from pdrop_eval.train.progress import Clock
from pdrop_eval.train.session import train
from pdrop_eval.train.trainer import part_of

START = MINI_CHECKPOINTS / "mini_base"


def run(config, strategy="pdrop"):
    return train(make_plan(config, strategy))


def losses(record, phase=-1):
    return [loss for _, loss in record["phases"][phase]["losses"]]


def weights(folder):
    return LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).state_dict()


def changed_parts(before, after):
    return {part_of(name) for name in before if not torch.equal(before[name], after[name])}


def test_each_phase_trains_its_parts_and_hands_its_model_on(config, tmp_path):
    record = run(config("phases=[pretrain,instruct]", "save_dtype=float32"))
    out = tmp_path / "out"
    start, first, last = weights(START), weights(out / "pretrain" / "model"), weights(out)
    assert changed_parts(start, first) == {"projector"}
    assert changed_parts(first, last) == {"projector", "decoder"}
    assert [phase["name"] for phase in record["phases"]] == ["pretrain", "instruct"]
    assert json.loads((out / "training_record.json").read_text()) == json.loads(json.dumps(record))


def test_the_record_says_what_was_done_and_what_it_cost(config, data):
    record = run(config())
    (phase,) = record["phases"]
    assert record["strategy"] == {
        "name": "pdrop", "ratio": 0.5, "stages": 4, "layers": None, "ratios": None, "rank_with": "next_layer",
        "score": "softmax", "rounding": "floor", "positions": "renumber",
    }  # fmt: skip
    assert (phase["steps"], phase["samples"], phase["seed"], phase["resumed"]) == (4, 16, 0, 0)
    assert phase["data"][0]["conversations"] == len(json.loads((data / "instruct.json").read_text()))
    assert phase["device_hours"] == phase["devices"] * phase["wall_hours"] > 0
    assert record["device_label"] == "CPU hours"
    assert record["device_hours"] == phase["device_hours"]
    assert record["training_flops"] == phase["flops"]["image_tokens"] > 0
    assert phase["loss"] == pytest.approx(sum(losses(record)) / 4)
    assert str(START) in record["base"]["pretrained"]


def test_training_flops_follow_from_the_schedule(config, data):
    """Vanilla: 144 image tokens in 8 layers; PyramidDrop 144, 72, 36, 18 in two layers each."""
    d, m, steps, batch = 128, 352, 4, 4
    conversations = json.loads((data / "instruct.json").read_text())
    pictured = sum("image" in c for c in conversations) / len(conversations)

    def layer(n):
        return 4 * n * d * d + 2 * n * n * d + 3 * n * d * m

    for strategy, schedule in (("vanilla", [144] * 8), ("pdrop", [144, 144, 72, 72, 36, 36, 18, 18])):
        record = run(config(f"strategy={strategy}", f"output={data.parent}/{strategy}"), strategy)
        # Forward, and twice that backward; attention's two products have no weights, but two inputs each.
        expected = 3 * sum(map(layer, schedule)) * steps * batch * pictured
        assert record["training_flops"] == pytest.approx(expected, rel=1e-6)


class KilledError(Exception):
    """Stands for the end of a process."""


def kill_at(monkeypatch, step):
    """Ends a training in the step after a checkpoint, or while one is being written."""
    whole = Clock.on_step_end

    def on_step_end(self, args, state, control, **more):
        if state.global_step == step:
            raise KilledError
        return whole(self, args, state, control, **more)

    monkeypatch.setattr(Clock, "on_step_end", on_step_end)


@pytest.mark.parametrize("extra", [(), ("gradient_checkpointing=true", "lora.rank=4")], ids=["plain", "lora"])
def test_a_killed_training_goes_on_to_the_same_weights(config, tmp_path, monkeypatch, extra):
    steps = ("recipe.instruct.steps=null", "recipe.instruct.epochs=2", "recipe.instruct.batch_size=8", *extra)
    whole = run(config(*steps, f"output={tmp_path}/whole", "save_every=3"))
    with monkeypatch.context() as patch:
        kill_at(patch, 8)
        with pytest.raises(KilledError):
            run(config(*steps, "save_every=3"))
    folder = tmp_path / "out" / "instruct"
    half = folder / "checkpoint-7"  # as a process leaves it that is killed while it writes
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    resumed = run(config(*steps, "save_every=3"))
    assert not half.exists()
    assert resumed["phases"][0]["resumed"] == 1
    assert losses(resumed) == losses(whole)
    mine, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "whole"))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_training_goes_on_from_an_older_checkpoint_too(config, tmp_path, monkeypatch):
    whole = run(config(f"output={tmp_path}/whole"))
    with monkeypatch.context() as patch:
        kill_at(patch, 4)
        with pytest.raises(KilledError):
            run(config("save_every=1", "keep=3"))
    for step in (2, 3):
        shutil.rmtree(tmp_path / "out" / "instruct" / f"checkpoint-{step}")
    assert losses(run(config("save_every=1", "keep=3"))) == losses(whole)


def test_what_is_done_is_not_done_again(config, monkeypatch, capsys):
    first = run(config())
    monkeypatch.setattr("pdrop_eval.train.session._train_phase", lambda *_: pytest.fail("trained again"))
    assert run(config()) == first
    assert "done already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "strategy", "what"),
    [
        (["strategy=vanilla"], "vanilla", "strategy"),
        (["strategy.ratio=0.6"], "pdrop", "0.6"),
        (["seed=1"], "pdrop", "seed: 0 there, 1 here"),
        (["recipe.instruct.learning_rate=2e-5"], "pdrop", "settings"),
        (["model=mini", f"model.pretrained={MINI_CHECKPOINTS.parent / 'checkpoint'}"], "pdrop", "start"),
    ],
    ids=["strategy", "ratio", "seed", "rate", "start"],
)
@pytest.mark.parametrize("finished", [True, False])
def test_another_training_is_refused(config, monkeypatch, overrides, strategy, what, finished):
    if finished:
        run(config())
    else:
        with monkeypatch.context() as patch:
            kill_at(patch, 3)
            with pytest.raises(KilledError):
                run(config("save_every=2"))
    with pytest.raises(UserError, match="belongs to another training") as error:
        run(config("save_every=2", *overrides), strategy)
    assert what in str(error.value)
    assert "output=<folder>" in str(error.value)


def test_parts_have_their_own_learning_rates(config, tmp_path):
    run(
        config(
            "recipe.instruct.train=[vision,projector,decoder]",
            "recipe.instruct.projector_learning_rate=1e-30",
            "recipe.instruct.vision_learning_rate=1e-4",
            "save_dtype=float32",
        )
    )
    assert changed_parts(weights(START), weights(tmp_path / "out")) == {"vision", "decoder"}


def test_gradient_checkpointing_changes_no_loss(config, tmp_path):
    plain = run(config())
    again = run(config("gradient_checkpointing=true", f"output={tmp_path}/again"))
    assert losses(again) == losses(plain)


@pytest.mark.parametrize("strategy", ["vanilla", "fastv", "pdrop"])
def test_every_strategy_trains_in_both_precisions(config, tmp_path, strategy):
    exact = run(config(f"strategy={strategy}"), strategy)
    rough = run(config(f"strategy={strategy}", "dtype=bfloat16", f"output={tmp_path}/bf16"), strategy)
    assert losses(rough)[0] == pytest.approx(losses(exact)[0], rel=0.05)
    assert losses(rough) != losses(exact)


def test_the_loss_is_the_strategys_own(config, data):
    """The first step's loss is that of a forward under the strategy on the same batch."""
    from pdrop_eval.strategies.pyramiddrop import PyramidDrop
    from pdrop_eval.train import loader, models
    from pdrop_eval.train.session import _samples

    plan = make_plan(config(), "pdrop")
    (phase,) = plan.phases
    start = models.load_start(START, plan.config)
    samples, _ = _samples(plan, phase, start)
    ids = list(loader.GroupedSampler(samples, 4, 0))[:4]
    batch = loader.Collator(start.processor)([samples[i] for i in ids])
    with PyramidDrop(ratio=0.5)(start.model), torch.no_grad():
        dropped = start.model(**batch).loss.item()
    with torch.no_grad():
        kept = start.model(**batch).loss.item()
    assert losses(train(plan))[0] == pytest.approx(dropped, rel=1e-4)
    assert dropped != pytest.approx(kept, rel=1e-2)


def test_lora_learns_in_the_decoder_and_is_merged(config, tmp_path):
    run(config("lora.rank=4", "recipe.instruct.train=[decoder]", "save_dtype=float32"))
    before, after = weights(START), weights(tmp_path / "out")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("proj.weight" in name and "language_model.layers" in name for name in changed)


def test_logs_can_be_read_by_tensorboard(config, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record = run(config())
    events = EventAccumulator(str(tmp_path / "out" / "instruct" / "logs"))
    events.Reload()
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx(losses(record))


def test_too_little_data_for_a_batch_is_refused(config):
    with pytest.raises(UserError, match=r"48 samples, fewer than one batch of 64"):
        run(config("recipe.instruct.batch_size=64"))


def test_two_runs_do_not_write_to_one_folder(config, tmp_path):
    from pdrop_eval.files import Lock

    plan = make_plan(config(), "pdrop")
    held = Lock(tmp_path / "out")
    with pytest.raises(UserError, match="being written by process"):
        train(plan)
    held.release()
