"""`pdrop-eval-doctor`: is everything here that a run needs? One line each: ok, warn or FAIL, with the fix.

    pdrop-eval-doctor suite=paper model=llava_1_5_7b device=cuda

takes the settings of `pdrop-eval`. Exits with 1 if something fails. Fetches no data and renders nothing.
"""

import os
import platform
import shutil
import sys
import textwrap
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from pdrop_eval.models.families import multimodal
from pdrop_eval.models.loading.adapter import check_adapter
from pdrop_eval.models.loading.checkpoint import (
    MissingCheckpointError,
    check_anyres,
    check_checkpoint,
    check_device,
    check_image_processing,
    resolve_checkpoint,
)
from pdrop_eval.models.loading.generation import check_generation, left_out
from pdrop_eval.run.config import checks
from pdrop_eval.run.config.compose import chosen_strategy, compose_config
from pdrop_eval.run.config.fits import check_model
from pdrop_eval.run.config.named import check_named
from pdrop_eval.run.config.prefix import check_prefixes
from pdrop_eval.run.config.spec import ModelSpec, RunSpec, make_spec
from pdrop_eval.run.doctor import inputs
from pdrop_eval.run.doctor.inputs import Finding
from pdrop_eval.run.lmms.recipes import check_recipes
from pdrop_eval.strategies.registry import VANILLA
from pdrop_eval.utils.code import versions
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.terminal.cli import ending
from pdrop_eval.utils.terminal.console import as_typed_here, made_here
from pdrop_eval.utils.terminal.process import console_script

NEWEST_PYTHON = (3, 13)
_GIGABYTE = 10**9
_HELP = ("-h", "--help")


@console_script
def main() -> None:
    """The console script. Exits with 0, with 1 if something fails, with 2 for wrong settings."""
    if any(argument in _HELP for argument in sys.argv[1:]):
        print(__doc__)
        return
    failures = 0
    with ending("pdrop-eval-doctor"):
        config = compose_config(sys.argv[1:])
        if config.runs is not None:
            raise UserError(
                "An experiment is several runs. Examine them one by one: model=<name> suite=<name>, as "
                "conf/experiment lists them."
            )
        spec = make_spec(config, chosen_strategy(sys.argv[1:]), sys.argv[1:])
        checks.check_tasks(spec.tasks, list(spec.suite.tasks), spec.suite.name, spec.limit, packages=False)
        for finding in examine(spec):
            print(_line(finding), flush=True)
            failures += finding.status == "FAIL"
        must = f"{failures} of these must be fixed."
        print(f"\n{must if failures else 'Everything that this run needs is there.'}")
    sys.exit(1 if failures else 0)


def examine(config: RunSpec) -> Iterator[Finding]:
    """All findings about a run, as they are made; what is wrong is said once, however many find it."""
    here = (_settings, _device, _hub, _disk, _results, inputs.checkpoints)
    behind_server = (inputs.endpoint, _hub, _disk, _results)
    model = here if config.endpoint is None else behind_server
    said = set[str]()
    for part in (_python, _packages, inputs.task_packages, *model, inputs.data, inputs.judge):
        for finding in part(config):
            if finding.status == "ok" or finding.text not in said:
                yield finding
            said.add(finding.text)


def _line(finding: Finding) -> str:
    head = f"{finding.status:<5}{finding.what:<21} "
    text = as_typed_here(finding.text if not finding.fix else f"{finding.text} -> {finding.fix}")
    return textwrap.fill(
        text,
        80,
        initial_indent=head,
        subsequent_indent=" " * 27,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _python(config: RunSpec) -> Iterator[Finding]:
    here = platform.python_version()
    needed = SpecifierSet(metadata("pdrop-eval")["Requires-Python"] or "")
    setup = made_here("setup PYTHON=python3.11", "Python 3.11")
    if here not in needed:
        yield Finding("FAIL", "python", f"{here}, needed {needed}", f"{setup}, or a newer one")
    elif sys.version_info[:2] > NEWEST_PYTHON:
        newest = ".".join(map(str, NEWEST_PYTHON))
        yield Finding(
            "warn", "python", f"{here} is newer than the newest that was tested", f"Python {newest}"
        )
    else:
        yield Finding("ok", "python", here)


def _packages(config: RunSpec) -> Iterator[Finding]:
    good = []
    for needed in versions.requirements():
        found = versions.installed(needed)
        if found is None:
            yield Finding("FAIL", needed.name, "not installed", f"pip install '{needed}'")
        elif versions.within(needed, found):
            good.append(f"{needed.name} {found}")
        elif needed.name in versions.DECISIVE and config is not None and config.untested_packages is True:
            text = f"{found}, outside of what was tested: {versions.tested(needed)}"
            yield Finding("warn", needed.name, text, f"pip install '{needed}'")
        else:
            text = f"{found}, needed {versions.tested(needed)}"
            yield Finding("FAIL", needed.name, text, f"pip install '{needed}'")
    yield Finding("ok", "packages", ", ".join(good))


def _settings(config: RunSpec) -> Iterator[Finding]:
    """The plain values, the strategy's own, and those that must suit the checkpoint, if that is there."""
    model = config.model
    text = "strategy, model and run are consistent"
    try:
        checks.check_settings(config)
        check_named(model, config.strategy)
        config.strategy.build()
        adapter = check_adapter(model.adapter, model.adapter_revision, model.merge_adapter)
        if _is_here(model.pretrained):
            if _usable(model):
                yield from _suiting(config)
                check_recipes(config.to_dict(), model.pretrained, model.revision, adapter)
            else:
                text = "right in themselves; they are held against the checkpoint once it can be used"
    except (UserError, ValueError, TypeError) as error:
        yield Finding("FAIL", "settings", str(error))
    else:
        yield Finding("ok", "settings", text)


def _is_here(pretrained: str) -> bool:
    try:
        return isinstance(resolve_checkpoint(pretrained), Path)
    except MissingCheckpointError:
        return False


def _usable(model: ModelSpec) -> bool:
    """Whether the checkpoint itself is right: what is wrong with it is said once, in its own line."""
    try:
        check_checkpoint(model.pretrained, model.revision, model.trust_remote_code)
    except UserError:
        return False
    return True


def _suiting(config: RunSpec) -> Iterator[Finding]:
    """What must suit the checkpoint; gives warnings. Raises UserError."""
    model = config.model
    found = check_checkpoint(
        model.pretrained, model.revision, model.trust_remote_code, config.strategy.name != VANILLA
    )
    config.strategy.settled(multimodal(found.family).can_renumber, model.name)
    check_anyres(model.anyres, found.config)
    multimodal(found.family).check_bounds(model.bounds)
    check_model(config.strategy, found, model.anyres, checks.check_budget(config.budget))
    check_prefixes(config.prefix_cache, config.strategy, found)
    check_image_processing(model.image_processing, found.family)
    check_generation(model.generation, found.generation)
    if found.generation and model.generation is None:
        yield Finding("warn", "generation", left_out(found.generation))


def _device(config: RunSpec) -> Iterator[Finding]:
    try:
        check_device(str(config.device))
    except UserError as error:
        yield Finding("FAIL", "device", str(error))
        return
    import torch

    memory = _gpu_memory(torch)
    large = str(config.model.size) == "7b"
    if str(config.device).startswith("cuda"):
        needed = 30 if config.dtype == "float32" else 16
        if large and memory < needed * _GIGABYTE:
            fix = "dtype=float16" if config.dtype == "float32" else "a GPU with 16 GB or more"
            yield Finding(
                "warn", "device", f"{memory / _GIGABYTE:.0f} GB of GPU memory are little for 7B", fix
            )
        else:
            name = torch.cuda.get_device_name(str(config.device))
            yield Finding("ok", "device", f"{config.device}: {name}, {memory / _GIGABYTE:.0f} GB")
    elif large:
        fix = "device=cuda dtype=float16"
        yield Finding(
            "warn", "device", f"a model of 7B on {config.device} takes days and 30 GB of memory", fix
        )
    else:
        there = f" (a GPU is there too: {memory / _GIGABYTE:.0f} GB)" if memory else ""
        yield Finding("ok", "device", f"{config.device}{there}")


def _gpu_memory(torch: Any) -> int:
    if not torch.cuda.is_available():
        return 0
    return int(torch.cuda.get_device_properties(0).total_memory)


def _hub(config: RunSpec) -> Iterator[Finding]:
    if not inputs.data_from_hub(config) and not inputs.model_from_hub(config):
        yield Finding("ok", "Hugging Face Hub", "not needed")
    elif os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "YES", "ON"):
        fix = "unset HF_HUB_OFFLINE to fetch the rest"
        yield Finding(
            "warn", "Hugging Face Hub", "HF_HUB_OFFLINE is set: only what is cached can be used", fix
        )
    else:
        yield Finding("ok", "Hugging Face Hub", "asked below")


def _disk(config: RunSpec) -> Iterator[Finding]:
    from pdrop_eval.benchmarks.rendered.suite import default_root

    places = {"results": (Path(config.results), 0.1), "rendered suite": (default_root(), 0.5)}
    if inputs.data_from_hub(config) or inputs.model_from_hub(config):
        from huggingface_hub import constants

        places = {"results": places["results"], "Hub's cache": (Path(constants.HF_HUB_CACHE), 60.0)}
    for name, (place, wanted) in places.items():
        free = shutil.disk_usage(_existing(place)).free / _GIGABYTE
        if free < min(wanted, 0.1):
            yield Finding("FAIL", "disk", f"{free:.2f} GB free for the {name} ({place})", "free some space")
        elif free < wanted:
            text = f"{free:.0f} GB free for the {name} ({place}); all of it may take {wanted:g}"
            yield Finding("warn", "disk", text, "free some space, or set HF_HOME to another disk")
        else:
            yield Finding("ok", "disk", f"{free:.0f} GB free for the {name}")


def _results(config: RunSpec) -> Iterator[Finding]:
    try:
        checks.check_results_folder(Path(config.results))
    except UserError as error:
        yield Finding("FAIL", "results", str(error))
    else:
        yield Finding("ok", "results", f"{config.results} can be written to")


def _existing(path: Path) -> Path:
    """The path, or its nearest parent that is there."""
    path = path.expanduser().absolute()
    return next(place for place in (path, *path.parents) if place.exists())


if __name__ == "__main__":
    main()
