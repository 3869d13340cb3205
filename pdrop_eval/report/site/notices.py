"""What the page has to say about itself: what couldn't be read or shown, each reason once."""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Sized
from typing import TYPE_CHECKING

from pdrop_eval.benchmarks.registry import names
from pdrop_eval.report.site.names import without_folders

if TYPE_CHECKING:
    from pdrop_eval.report.site.data.records import Recorded

_LISTED = 5  # runs that a line names


class Notices:
    """Collects notices, and says them in lines."""

    def __init__(self) -> None:
        self._plain: list[str] = []
        self._missing: dict[str, list[str]] = defaultdict(list)
        self._pictures: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._misfit: dict[str, list[str]] = defaultdict(list)

    def add(self, text: str) -> None:
        """A notice as it is."""
        if text not in self._plain:
            self._plain.append(text)

    def unread(self, one: "Recorded", benchmark: str, error: Exception) -> None:
        """Samples of a run that are missing or can't be read; the scores are there all the same."""
        if isinstance(error.__cause__, FileNotFoundError):
            self._missing[one.key].append(benchmark)
        else:
            self.add(f"{one.key}, {_named([benchmark])}: {error}")

    def misfit(self, one: "Recorded", benchmark: str) -> None:
        """Samples whose grids or masks are of another number of image tokens than they have."""
        self._misfit[one.key].append(benchmark)

    def pictures(self, benchmark: str, why: str, number: int) -> None:
        """Questions whose pictures aren't shown."""
        self._pictures[why][benchmark] += number

    def unrecorded(self, folders: Sequence[str]) -> None:
        """Folders of runs, as `model/run`, that have samples and no record."""
        if folders:
            more = f" and {len(folders) - _LISTED} others" if len(folders) > _LISTED else ""
            has = "has" if len(folders) == 1 else "have"
            self.add(
                f"{', '.join(folders[:_LISTED])}{more} {has} samples but no record.json, so nothing of "
                f"{_them(folders)} is shown: put the record back, or evaluate the same settings again."
            )

    def copies(self, found: Mapping[str, Sequence[str]]) -> None:
        """Runs that are there several times, with the places of the copies that aren't shown."""
        for place, others in list(found.items())[:_LISTED]:
            more = f" and {len(others) - _LISTED} more" if len(others) > _LISTED else ""
            self.add(
                f"One run in several folders is shown once: {place}, not {', '.join(others[:_LISTED])}{more}."
            )
        if len(found) > _LISTED:
            self.add(f"{len(found) - _LISTED} more runs are in several folders; each is shown once.")

    def unknown(self, keys: Sequence[str]) -> None:
        """Benchmarks that this version doesn't know."""
        if keys:
            self.add(f"Left out, because this version knows no such benchmark: {', '.join(keys)}.")

    def lines(self) -> list[str]:
        """All of them; paths are without their folders."""
        found = list(self._plain)
        for why, numbers in self._pictures.items():
            total = sum(numbers.values())
            asked = "1 question" if total == 1 else f"{total:,} questions"
            lacks = "has" if total == 1 else "have"
            found.append(f"{asked} of {_named(list(numbers))} {lacks} no picture here: {why}.")
        if self._missing:
            found.append(
                f"No samples are stored of {_runs(self._missing)}: their scores are shown, and no answers. "
                f"Move {_folders(self._missing)} away and run {_them(self._missing)} again."
            )
        if self._misfit:
            found.append(
                f"Grids or masks don't fit the image tokens in samples of {_runs(self._misfit)}: what was "
                "dropped isn't shown there."
            )
        return [without_folders(line) for line in found]


def _runs(found: dict[str, list[str]]) -> str:
    listed = [f"{key} ({_named(keys)})" for key, keys in list(found.items())[:_LISTED]]
    more = f" and {len(found) - _LISTED} other runs" if len(found) > _LISTED else ""
    return ", ".join(listed) + more


def _folders(found: Sized) -> str:
    return "the run's folder" if len(found) == 1 else "the runs' folders"


def _them(found: Sized) -> str:
    return "it" if len(found) == 1 else "them"


def _named(keys: Sequence[str]) -> str:
    return ", ".join(names(keys).values()) if len(keys) <= _LISTED else f"{len(keys)} benchmarks"
