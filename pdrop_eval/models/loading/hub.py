"""The Hugging Face Hub: used only for a model or data set from there, and never waited for long."""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from pdrop_eval.utils.errors import UserError

_TIMEOUT = 5.0  # seconds
_VARIABLE = "HF_HUB_OFFLINE"
_set_by_us = False
_ID = re.compile(r"[\w.-]+/[\w.-]+")  # organisation/name
_WITH_REVISION = re.compile(rf"({_ID.pattern})[@:](.+)")
_ADDRESS = re.compile(rf"(?:https?://huggingface\.co/|hf://)(?:models/)?({_ID.pattern})(?:/tree/([^?#]+))?.*")


class HubUnreachableError(UserError):
    """The Hub doesn't answer, and what is needed is not in the cache; `reason` is the network's."""

    def __init__(self, message: str, reason: str):
        super().__init__(message)
        self.reason = reason


def set_offline(offline: bool) -> None:
    """Turn the Hub off or on for this process; a HF_HUB_OFFLINE that the user has set stays as it is."""
    global _set_by_us  # noqa: PLW0603 - one process, one switch: libraries read it from the environment
    if _VARIABLE in os.environ and not _set_by_us:
        return
    _set_by_us = True
    os.environ[_VARIABLE] = "1" if offline else "0"
    for name in ("huggingface_hub.constants", "datasets.config"):
        if name in sys.modules:  # they copied the variable when they were imported
            sys.modules[name].HF_HUB_OFFLINE = offline  # type: ignore[attr-defined]


def check_id(setting: str, revision_setting: str, value: str) -> None:
    """Refuse an id with a revision in it, or as an address, which the Hub would only not find.

    Args:
        setting: the name of the setting with the id, such as `model.pretrained`.
        revision_setting: the one that its revision belongs to.
        value: what the user gave: an id, or something else.

    Raises:
        UserError: with the two settings as they should be.
    """
    found = _WITH_REVISION.fullmatch(value) or _ADDRESS.fullmatch(value)
    if found:
        revision = f" {revision_setting}={found[2]}" if found[2] else ""
        raise UserError(
            f"{setting}={value!r} is no id on the Hugging Face Hub, which is organisation/name; its revision "
            f"(a branch, tag or commit) has a setting of its own. Use {setting}={found[1]}{revision}."
        )


def fetch(repository: str, commit: str, patterns: Sequence[str]) -> Path:
    """Return the folder in the Hub's cache of a model, after these of its files were fetched.

    Without network, what is in the cache has to do.

    Raises:
        UserError: they can't be fetched.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, revision=commit, allow_patterns=list(patterns)))
    except OSError as error:
        raise UserError(
            f"{repository} on the Hugging Face Hub can't be fetched: {error} {_advice('model')}"
        ) from error


def hub_commit(repository: str, kind: str, revision: str | None) -> str:
    """Return the commit that a branch, tag or commit of a repository stands for now.

    Without network, or offline, what is in the cache counts.

    Args:
        repository: organisation/name.
        kind: "model" or "dataset".
        revision: a branch, tag or commit; None: main.

    Raises:
        UserError: within seconds, if the repository is in neither place.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    revision = revision or "main"
    cached = _cached_commit(Path(constants.HF_HUB_CACHE), repository, kind, revision)
    what = f"The {kind} {repository} (revision {revision})"
    if constants.HF_HUB_OFFLINE:
        if cached:
            return cached
        raise UserError(
            f"{what} is on the Hugging Face Hub, not in the local cache, and HF_HUB_OFFLINE=1 forbids to "
            f"fetch it. {_advice(kind)}"
        )
    try:
        return str(HfApi().repo_info(repository, repo_type=kind, revision=revision, timeout=_TIMEOUT).sha)
    except GatedRepoError as error:
        raise UserError(f"{what} needs its licence accepted and a login: hf auth login.") from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise UserError(f"{what} doesn't exist on the Hub, or is private. Check the id.") from error
    except HFValidationError as error:
        raise UserError(f"{repository!r} is no id on the Hub: {error} It is organisation/name.") from error
    except HfHubHTTPError as error:
        raise UserError(f"The Hugging Face Hub refused {what}: {error}") from error
    except Exception as error:  # whatever the HTTP library calls an unreachable host
        if cached:
            set_offline(True)
            return cached
        reason = f"{type(error).__name__}: {error}"
        raise HubUnreachableError(
            f"{what} is needed, but the Hugging Face Hub can't be reached ({reason}). {_advice(kind)}", reason
        ) from error


def _advice(kind: str) -> str:
    if kind == "dataset":
        return (
            "Connect to the network once, name what you have downloaded with data.root=<folder>, or use "
            "suite=mini, which needs no network."
        )
    return "Connect to the network once, or give a local folder with model.pretrained=<folder>."


def _cached_commit(cache: Path, repository: str, kind: str, revision: str) -> str | None:
    folder = cache / f"{kind}s--{repository.replace('/', '--')}"
    reference = folder / "refs" / revision
    if reference.is_file():
        return reference.read_text(encoding="utf-8").strip()
    if (folder / "snapshots" / revision).is_dir():
        return revision
    snapshots = [path for path in (folder / "snapshots").glob("*") if path.is_dir()]
    # data sets are fetched by commit, which writes no reference
    newest = max(snapshots, key=lambda path: path.stat().st_mtime, default=None)
    return newest.name if newest and kind == "dataset" and revision == "main" else None
