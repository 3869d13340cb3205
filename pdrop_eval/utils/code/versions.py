"""Which versions of other packages were tested: the ranges of this package's own metadata. Needs no torch."""

from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from pdrop_eval.utils.errors import UserError

DISTRIBUTION = "pdrop-eval"
# The packages that answers come from: another version of them may answer otherwise, or not at all.
DECISIVE = ("torch", "transformers", "lmms-eval")
COMPUTE = ("torch", "transformers")  # those of trainings and benchmarks, which ask no questions


def requirements(extra: str = "") -> Iterator[Requirement]:
    """What this package asks for on this Python, as its metadata says; `extra` adds that extra's packages.

    Nothing if the package isn't installed, only its sources are there.
    """
    try:
        texts = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return
    for text in texts:
        needed = Requirement(text)
        if needed.marker is None or needed.marker.evaluate({"extra": extra}):
            yield needed


def installed(needed: Requirement) -> str | None:
    """The installed version of a required package; None if it is missing."""
    try:
        return version(needed.name)
    except PackageNotFoundError:
        return None


def within(needed: Requirement, found: str) -> bool:
    """Is a version inside of the range that was tested? A build such as 2.13.0+cpu counts as 2.13.0."""
    return needed.specifier.contains(found, prereleases=True)


def tested(needed: Requirement) -> str:
    """The range in the usual order, the lowest version first: ">=5.20,<5.24"."""
    return ",".join(sorted(map(str, needed.specifier), key=lambda part: part.startswith("<")))


def untested(names: Sequence[str] = DECISIVE) -> dict[str, str]:
    """Of these packages, those that are outside of what was tested: name to version."""
    found = {needed: installed(needed) for needed in requirements() if needed.name in names}
    return {needed.name: here for needed, here in found.items() if here and not within(needed, here)}


def check_versions(untested_packages: object = False, names: Sequence[str] = DECISIVE) -> dict[str, str]:
    """Refuses packages outside of what was tested, before any of them is imported; what was let pass.

    With `untested_packages=True` they are let pass. Raises UserError with the version, the range and the fix.
    """
    if not isinstance(untested_packages, bool):
        raise UserError(
            f"untested_packages={untested_packages} is not allowed: true accepts packages that were not "
            "tested, false refuses them."
        )
    found = untested(names)
    if found and not untested_packages:
        ranges = {needed.name: tested(needed) for needed in requirements()}
        named = ", ".join(f"{name} {here} (tested: {ranges[name]})" for name, here in found.items())
        install = " ".join(f"'{name}{ranges[name]}'" for name in found)
        raise UserError(
            f"Outside of what was tested: {named}. Answers may differ, or nothing may work. Install what was "
            f"tested, pip install {install}, or accept them with untested_packages=true; the record says so."
        )
    return found
