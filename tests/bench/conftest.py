"""A benchmark of a tiny model: 4 layers, 32 wide, images of 6 x 6 patches."""

import pytest

from pdrop_eval.report.bench import cli
from pdrop_eval.run.bench.spec import compose_bench

TINY = (
    "model=llava_1_5_7b", "sizes.layers=4", "sizes.width=32", "sizes.intermediate=48", "sizes.heads=4",
    "sizes.vocabulary=64", "sizes.tile=24", "sizes.patch=4", "sizes.vision_layers=2", "sizes.vision_width=16",
    "sizes.vision_intermediate=24", "sizes.vision_heads=2", "text_tokens=6", "new_tokens=3", "rounds=3",
    "warmup=1", "threads=1",
)  # fmt: skip


def compose_tiny(folder, *overrides):
    """The settings of a tiny benchmark whose records go to `folder`."""
    folders = (f"results={folder / 'bench'}", f"scores={folder / 'runs'}")
    return compose_bench([*TINY, *folders, *overrides])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks the tests that run benchmarks of their own; the fast run looks at the one of `every_variant`."""
    for item in items:
        if {"config", "idle"} <= set(item.fixturenames):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def idle(monkeypatch):
    """A machine that is idle, and threads of torch that stay as they are."""
    monkeypatch.setattr("pdrop_eval.run.bench.session.torch.set_num_threads", lambda _: None)
    monkeypatch.setattr("pdrop_eval.run.bench.machine.Load.seen", lambda _: {"average": 0.1, "others": 0.0})


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Compose the configuration of a tiny benchmark in the test's own folder."""
    monkeypatch.setattr("pdrop_eval.run.bench.machine.glance", lambda _: {"average": 0.0, "others": 0.0})
    return lambda *overrides: compose_tiny(tmp_path, *overrides)


@pytest.fixture(scope="package")
def every_variant(tmp_path_factory):
    """A finished record of all strategies, plain transformers and keep-all, at batches of 1 and 2."""
    variants = "strategies=[vanilla,fastv,pdrop,plain,keep_all]"
    return cli.bench(compose_tiny(tmp_path_factory.mktemp("every"), variants, "batch_sizes=[1,2]"))
