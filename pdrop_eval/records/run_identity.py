"""What decides a run's numbers: hashed, it names the run's folder. Needs no torch.

What decides the numbers of a single task (its files, its entry in the registry, its data) is no part of it:
that stands in the task's own entry of the record, so that a change of one task leaves the others as they are.
"""

import contextlib
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from itertools import accumulate
from pathlib import Path
from typing import Any

from pdrop_eval.strategies.combinations import JOIN, is_combined
from pdrop_eval.strategies.recipe_settings import by_content
from pdrop_eval.strategies.registry import RECORDED
from pdrop_eval.utils import paths
from pdrop_eval.utils.batch_setting import FIXED_BATCH, is_exact
from pdrop_eval.utils.code.hashing import hash_files
from pdrop_eval.utils.code.source_code import (
    class_attribute,
    hash_modules,
    import_closure,
    module_file,
    project_imports,
)
from pdrop_eval.utils.errors import UserError

# Not part of it: where results go and data lie, which of the suite's tasks are asked for now, who judges, and
# what changes no answer.
_ELSEWHERE = (
    "results", "tasks", "data", "judge", "runs", "size", "workers", "threads", "feature_cache",
    "prefix_cache", "prefix_memory", "log", "untested_packages", "include_path",
)  # fmt: skip
# An adapter is part of the weights, whose hash says which it is and whether it is merged.
_OF_ADAPTER = ("adapter", "adapter_revision", "merge_adapter")
# model.context only refuses: raised after a prompt was too long, it must not discard the answers so far.
# Nor how many GPUs share the layers, as it isn't which GPU.
_OF_PARTS = {"model": ("pretrained", "revision", "context", "devices", *_OF_ADAPTER), "suite": ("tasks",)}
version = cache(metadata.version)  # reading a package's files takes longer than all else of an identity

# Where the code that all strategies share begins; what these modules import is found by reading them.
_SHARED = (
    "run.lmms.model", "run.lmms.open", "run.lmms.tasks.task_runner", "benchmarks.scoring.score",
    "strategies.base", "engine.context", "efficiency.budget", "efficiency.flops",
)  # fmt: skip
# What says how a strategy is called and drawn: a combination asks it, and no number depends on it.
_NAMES = "strategies.registry"
# What asks a model behind a server; a record has it in the place of a strategy's class.
ENDPOINT = "pdrop_eval.run.endpoint.model.EndpointModel"
_ASKS = ("run.endpoint.model", "run.lmms.tasks.task_runner", "benchmarks.scoring.score")
# What decides such a model's answers, as far as it is known: not where the server is, nor how it is asked.
_OF_ENDPOINT = ("name", "served", "revision", "max_new_tokens", "extra_body")
_BEYOND_ENDPOINT = ("strategy", "budget", "device", "dtype", "attention", "batch_size", "prefix_cache")
# Attributes of a strategy's class that only reports read.
_SHOWN = frozenset(RECORDED)
# Files of a checkpoint that change no answer: what its training cost, and what was measured of it.
_BESIDE = ("training_record.json", "card.json")
_PACKAGES_OF_ENDPOINT = ("lmms-eval", "pillow", "numpy")
# What decodes and resizes pictures and makes tokens of words is among them.
_PACKAGES = ("torch", "torchvision", "transformers", "tokenizers", "lmms-eval", "pillow", "numpy")


def run_identity(
    settings: Mapping[str, Any],
    strategy: str,
    target: str,
    model_sha256: str,
    data_sha256: dict[str, str],
    family: str | None = None,
) -> dict[str, Any]:
    """The hashes of a run's settings, code, weights and data, and the versions of packages.

    The same model and data in other folders give the same identity, and so does `cuda:1` for `cuda:0`.

    Args:
        settings: all settings of the run, as plain dicts and lists.
        strategy: the strategy's name.
        target: the strategy's class, `pdrop_eval.strategies.fastv.FastV`.
        model_sha256: of the checkpoint, see `checkpoint_sha256`.
        data_sha256: of the user's own data, by task.
        family: the name of the checkpoint's model family.
    """
    return {
        "strategy": strategy,
        "settings_sha256": settings_sha256(settings),
        "model_sha256": model_sha256,
        "data_sha256": data_sha256,
        "code": code_sha256(target, family),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def endpoint_identity(settings: Mapping[str, Any], data_sha256: dict[str, str]) -> dict[str, Any]:
    """The same as `run_identity` for a model behind a server.

    Two runs are the same if label, served name, revision and what is asked are: the address isn't part of it,
    so that a server which is started anew elsewhere goes on with the run. Where a server of the same name has
    other weights or settings, only the user can say so, with the label or `model.revision`.

    Args:
        settings: all settings of the run, as plain dicts and lists.
        data_sha256: of the user's own data, by task.
    """
    model = {key: settings["model"].get(key) for key in _OF_ENDPOINT}
    asked = _given(shared_settings(settings), ("model", *_BEYOND_ENDPOINT))
    return {
        "strategy": "server",
        "settings_sha256": _sha256({**asked, "model": model}),
        "model_sha256": _sha256([model[key] for key in ("name", "served", "revision")]),
        "data_sha256": data_sha256,
        "code": code_sha256(ENDPOINT),
        "packages": {name: version(name) for name in _PACKAGES_OF_ENDPOINT},
    }


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def settings_sha256(settings: Mapping[str, Any]) -> str:
    """SHA-256 of those settings that decide an answer or a score.

    A setting that isn't there is the same as null, so that a new one, usually null, changes no identity.
    """
    return _sha256(shared_settings(settings))


def from_seed(identity: Mapping[str, Any], shared: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The identity of the same run from another seed, which only the hash of its settings depends on.

    Args:
        identity: Of the run, see `run_identity`.
        shared: What `shared_settings` finds of its settings.
        seed: The other seed.
    """
    return {**identity, "settings_sha256": _sha256({**shared, "seed": seed})}


def shared_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that `settings_sha256` hashes, which processes that share a run have in common.

    A recipe counts by its content, wherever its file lies.

    Raises:
        UserError: a strategy's recipe that can't be read.
    """
    left = by_content(_given(settings, _ELSEWHERE))
    for part, names in _OF_PARTS.items():
        left[part] = _given(left.get(part) or {}, names)
    left["device"] = str(left.get("device")).split(":")[0]
    if not is_exact(left["device"], left.get("dtype")):
        left |= _given({"prefix_cache": settings.get("prefix_cache")}, ())  # it may decide last bits there
    elif left.get("batch_size") == "auto":
        left["batch_size"] = FIXED_BATCH  # the same answers
    return left


def _given(settings: Mapping[str, Any], without: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if value is not None and key not in without}


def code_sha256(target: str, family: str | None = None) -> dict[str, str | None]:
    """SHA-256 of the code that decides a run's numbers, by reading the files: nothing is imported.

    Comments and docstrings don't count, nor does what only other strategies, other benchmarks or reports
    need.

    Args:
        target: the strategy's class.
        family: the name of the checkpoint's model family, if there is one.

    Returns:
        `sha256`: of the code that all strategies share; `strategy`: of the strategy's own module and what
        only that imports; `family`: of the model family's, or None.

    Raises:
        UserError: there is no module of this name.
    """
    return dict(_code_sha256(target, family, paths.PACKAGE))


@cache
def _code_sha256(target: str, family: str | None, package: Path) -> dict[str, str | None]:
    if target == ENDPOINT:
        asks = import_closure([f"{package.name}.{name}" for name in _ASKS], package)
        return {"sha256": hash_modules(asks), "strategy": None, "family": None}
    shared = import_closure([f"{package.name}.{name}" for name in _SHARED], package)
    own = strategy_modules(target, package)
    return {
        "sha256": hash_modules(shared),
        "strategy": hash_modules({name: path for name, path in own.items() if name not in shared}, _SHOWN),
        "family": None if family is None else hash_modules(family_modules(family, package)),
    }


def family_modules(family: str, package: Path) -> dict[str, Path]:
    """Return the module of a model family and what it imports of the package.

    Raises:
        UserError: there is no such module.
    """
    try:
        return import_closure([f"{package.name}.models.families.{family}"], package)
    except (ValueError, SyntaxError, OSError) as error:
        raise UserError(f"The model family {family!r} has no module that can be read: {error}.") from error


def strategy_modules(target: str, package: Path) -> dict[str, Path]:
    """The module of a strategy's class and what it imports of the package; of the user's own files, it alone.

    Of a combination, the modules of both its parts, and what makes one strategy of them.

    Raises:
        UserError: there is no such module.
    """
    if is_combined(target):
        whole = import_closure([f"{package.name}.strategies.combine"], package)
        whole.pop(f"{package.name}.{_NAMES}")
        return {k: v for one in target.split(JOIN) for k, v in strategy_modules(one, package).items()} | whole
    module = target.rpartition(".")[0]
    try:
        if module_file(module, package):
            return import_closure([module], package)
        path = _found_file(module)
        return {module: path, **import_closure(project_imports(path, package), package)}
    except (ImportError, ValueError, SyntaxError, OSError) as error:
        raise UserError(
            f"The strategy {target} can't be imported: {type(error).__name__}: {error}. Check its file and "
            "the _target_ in conf/strategy."
        ) from error


def registered_name(target: str) -> str | None:
    """The name that a strategy's class gives itself; None where it gives none, or isn't there.

    Of the classes of a combination, their names are joined as they are.
    """
    if is_combined(target):
        names = [registered_name(one) for one in target.split(JOIN)]
        known = [name for name in names if name is not None]
        return JOIN.join(known) if len(known) == len(names) else None
    module, _, name = target.rpartition(".")
    with contextlib.suppress(ImportError, ValueError, SyntaxError, OSError):
        return class_attribute(module_file(module, paths.PACKAGE) or _found_file(module), name, "name")
    return None


def _found_file(module: str) -> Path:
    """The file of a module of the user's; nothing is imported, as a record may name it.

    Raises:
        ModuleNotFoundError: there is none.
    """
    places: Any = None
    origin = None
    for name in accumulate(module.split("."), "{}.{}".format):
        specs = (finder.find_spec(name, places) for finder in sys.meta_path)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {name!r}")
        places, origin = spec.submodule_search_locations or [], spec.origin if spec.has_location else None
    if origin is None:
        raise ModuleNotFoundError(f"{module!r} has no file of its own")
    return Path(origin)


def checkpoint_sha256(source: Path | str, commit: str | None) -> str:
    """SHA-256 of a checkpoint's files, or, on the Hub, of its id and commit, which fix them."""
    if isinstance(source, str):
        return hashlib.sha256(f"{source}@{commit}".encode()).hexdigest()
    kinds = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")
    files = {path for kind in kinds for path in source.glob(kind) if path.name not in _BESIDE}
    return hash_files(sorted(files))
