"""What all tests share: the run that people wait for names the tests that are too slow for it."""

import functools
import gc
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import composing
import pytest

LIMIT_SECONDS = 3.0
MARKERS = {"slow", "browser", "release"}  # `make test` leaves these tests to `make test-slow`
ESSENTIAL = "essential"  # of those it has whatever they take: a killed process, the README's example

# What is imported and collected stays until the end: looking through it again and again finds nothing.
gc.disable()
_imported = {"modules": 0}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test that has `thin(n)`, n cases are made, spread over all; the others only by `make test-all`."""
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("thin"):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for those in cases.values():
        (number,) = those[0].get_closest_marker("thin").args
        stay = spread(len(those), number)
        for item in (one for index, one in enumerate(those) if index not in stay):
            item.add_marker("slow")
            item.add_marker("whole")


def spread(cases: int, number: int) -> set[int]:
    """The indices of `number` of so many cases, the first among them, at about equal distances."""
    number = min(number, cases)
    return {index * cases // number for index in range(number)}


def pytest_collection_finish() -> None:
    """Collects garbage from here on."""
    _leave_out_modules()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


def pytest_runtest_logfinish() -> None:
    """The first test that needs transformers or lmms-eval has imported it."""
    if len(sys.modules) > _imported["modules"] + 200:
        _leave_out_modules()


def _leave_out_modules() -> None:
    """Takes what imports made out of every later garbage collection: each model that is opened makes one."""
    gc.collect()
    gc.freeze()
    _imported["modules"] = len(sys.modules)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """No test cuts the power: files needn't be on the disk before it goes on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _configurations_are_composed_once() -> Iterator[None]:
    """Tests compose a thousand, of few choices."""
    with pytest.MonkeyPatch.context() as patch:
        composing.keep(patch.setattr)
        yield


@pytest.fixture(scope="session", autouse=True)
def _versions_are_read_once() -> Iterator[None]:
    """Each run asks for those of a dozen packages, twice, and reading one takes milliseconds."""
    from pdrop_eval.utils.code import provenance, versions

    version = functools.cache(importlib.metadata.version)
    with pytest.MonkeyPatch.context() as patch:
        for module in (provenance, versions):
            patch.setattr(module, "version", version)
        yield


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread: tiny models are as fast, and results don't depend on the machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def lora_adapter() -> Callable[..., Path]:
    """A function that writes an adapter of the miniature: to one projection of its first layer it adds 6.

    B·A is 3 everywhere: of ones, and of ones times 1.5 (rank 2); alpha / rank makes it 6.
    """
    return _write_adapter


def _write_adapter(folder: Path, rank: int = 2, alpha: int = 4, name: str = "", **config: Any) -> Path:
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    settings = {
        "peft_type": "LORA", "base_model_name_or_path": "org/base", "r": rank, "lora_alpha": alpha,
        "target_modules": r".*language_model.layers\.0\.self_attn\.q_proj", **config,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    weights = {"lora_A": torch.ones(rank, 128), "lora_B": torch.full((128, rank), 1.5)}
    name = name or "model.language_model.layers.0.self_attn.q_proj"
    named = {f"base_model.model.{name}.{key}.weight": value for key, value in weights.items()}
    save_file(named, folder / "adapter_model.safetensors")
    return folder


def too_slow(reports: Iterable[Any]) -> list[str]:
    """Names tests over the limit that no marker takes out of the fast run.

    Args:
        reports: pytest's reports of the setup, call and teardown of each test.

    Returns:
        A line for each phase of over `LIMIT_SECONDS`, the longest first.
    """
    timed = [report for report in reports if getattr(report, "duration", 0) > LIMIT_SECONDS]
    found = [report for report in timed if not {*MARKERS, ESSENTIAL} & set(report.keywords)]
    found.sort(key=lambda report: -report.duration)
    return [f"{report.duration:6.1f} s  {report.when:8}  {report.nodeid}" for report in found]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Names the tests that take too long, after the failures; the run passes all the same."""
    lines = too_slow(report for reports in terminalreporter.stats.values() for report in reports)
    if lines:
        terminalreporter.section(f"over {LIMIT_SECONDS:g} s without a marker")
        terminalreporter.write_line("Make them faster, or mark them: pytest.mark.slow")
        for line in lines:
            terminalreporter.write_line(line)
