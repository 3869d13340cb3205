"""Small copies of the questions' pictures, from data that lie on this machine; named by their content."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from pdrop_eval.benchmarks.data.images import NotThereError, Stored, Wanted, find_pictures, stored_data
from pdrop_eval.benchmarks.own.store import SOURCE, find_stored
from pdrop_eval.benchmarks.registry import names
from pdrop_eval.report.site.data.samples import SHORT, Question, QuestionSet
from pdrop_eval.report.site.folder import Site
from pdrop_eval.report.site.notices import Notices

SIDE = 512  # pixels of a copy's longer side
QUALITY = 80

Shown = tuple[list[str | None], str | None]  # the files of a question's pictures, and why there are none


class Pictures:
    """Copies pictures into a site, so many of each benchmark. data: a folder of the user's own data."""

    def __init__(self, site: Site, most: int, data: Path | None, notices: Notices):
        self._site = site
        self._most = most
        self._data = data
        self._notices = notices
        self._taken: dict[str, set[str]] = {}  # by benchmark

    def of(self, found: QuestionSet, ordered: Sequence[Question]) -> dict[Any, Shown]:
        """For each question by its id: the files of its pictures, or why they aren't there."""
        shown: dict[Any, Shown] = {}
        wanted: dict[str, list[Question]] = {}
        for question in ordered:
            if question.images is None or not _is_hash(question.images):
                shown[question.id] = [], "the sample doesn't say which picture it is"
            elif question.images == _NOTHING:
                shown[question.id] = [], None
            else:
                wanted.setdefault(question.images, []).append(question)
        files = self._files(found, wanted)
        for images, questions in wanted.items():
            for question in questions:
                shown[question.id] = files[images]
        self._say(found, [why for _, why in shown.values() if why])
        return {question.id: shown[question.id] for question in ordered}

    def _files(self, found: QuestionSet, wanted: Mapping[str, Sequence[Question]]) -> dict[str, Shown]:
        files: dict[str, Shown] = {}
        taken = self._taken.setdefault(found.benchmark, set())
        left: list[Wanted] = []
        for images, questions in wanted.items():
            if images not in taken and len(taken) >= self._most:
                files[images] = _none(questions, self._beyond)
                continue
            taken.add(images)
            there = self._there(images, questions[0])
            if there:
                files[images] = list(there), None
            else:
                left.append(Wanted(images, questions[0].id))
        return files | self._copied(found, left, wanted)

    @property
    def _beyond(self) -> str:
        if self._most == 0:
            return "no pictures were asked for (pictures=0)"
        return f"only the first {self._most:,} pictures of a benchmark are copied (pictures=)"

    def _there(self, images: str, question: Question) -> list[str]:
        """The files of an earlier build; all of them, or none."""
        name = images[:SHORT]
        if self._site.picture(f"{name}.webp"):
            return [f"{name}.webp"]
        number = 0
        while self._site.picture(f"{name}-{number}.webp"):
            number += 1
        complete = number == len(question.sizes) if question.sizes else number > 1
        return [f"{name}-{index}.webp" for index in range(number)] if complete else []

    def _copied(
        self, found: QuestionSet, left: Sequence[Wanted], wanted: Mapping[str, Sequence[Question]]
    ) -> dict[str, Shown]:
        if not left:
            return {}
        files: dict[str, Shown] = {}
        try:
            data = self._data_of(found)
            title = f"Pictures of {names([found.benchmark])[found.benchmark]}"
            # Only where someone looks, and only if it takes a while.
            with tqdm(total=len(left), desc=title, unit="", disable=None, leave=False, delay=1) as bar:
                for images, pictures in find_pictures(data, left):
                    files[images] = self._copy(images, pictures)
                    bar.update()
        except NotThereError as error:
            files |= {
                one.sha256: _none(wanted[one.sha256], str(error)) for one in left if one.sha256 not in files
            }
        return {**{one.sha256: _none(wanted[one.sha256], _OTHER) for one in left}, **files}

    def _data_of(self, found: QuestionSet) -> Stored:
        runs = [member.one.run for member in found.members]
        roots = [self._data, *((run.of("config", "data") or {}).get("root") for run in runs)]
        sha256 = runs[0].results[found.benchmark].get("data_sha256")
        source = str(runs[0].of("suite", "source"))
        if source == SOURCE:
            own = find_stored(sha256)
            if own is None:
                raise NotThereError(
                    "the folder was read elsewhere (pdrop-eval with data.folder= reads it here)"
                )
            return Stored(found.task, (own,))
        return stored_data(found.task, source, sha256, roots)

    def _copy(self, images: str, pictures: Sequence[Image.Image]) -> Shown:
        name = images[:SHORT]
        several = len(pictures) > 1
        listed = [f"{name}-{index}.webp" if several else f"{name}.webp" for index in range(len(pictures))]
        for file, picture in reversed(
            list(zip(listed, pictures, strict=True))
        ):  # the first says all are there
            self._site.add_picture(file, _small(picture))
        return list(listed), None

    def _say(self, found: QuestionSet, reasons: Sequence[str]) -> None:
        if self._most == 0:  # as was asked for
            return
        for why in dict.fromkeys(reasons):
            self._notices.pictures(found.benchmark, why, reasons.count(why))


_NOTHING = hashlib.sha256().hexdigest()  # the hash of no pixels: a question without a picture
_OTHER = "the data on this machine hold another picture there, or one that can't be read"


def _none(questions: Sequence[Question], why: str) -> Shown:
    return [None] * max(1, len(questions[0].sizes)), why


def _small(picture: Image.Image) -> bytes:
    """A copy without anything but pixels: files of cameras say where they were."""
    small = picture.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    small.info.clear()
    written = io.BytesIO()
    small.save(written, "WEBP", quality=QUALITY, method=4)
    return written.getvalue()


def _is_hash(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")
