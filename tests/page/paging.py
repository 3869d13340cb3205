"""A page in tests: built from records, and its data read as the page itself reads them."""

import json
import re
from pathlib import Path

from pdrop_eval.report.site.build import Sources, make_page

_PUT = re.compile(r'pdrop\.put\(("(?:[^"\\]|\\.)*"), (.*)\);\n', re.S)


def build(folder: Path, out: str = "site", **settings) -> str:
    """Builds a page of `folder`/runs, bench and compare in a folder beside them; returns what is told."""
    sources = Sources(folder / "runs", folder / "bench", folder / "compare", **settings)
    return make_page(sources, folder / out)


def data(path: Path) -> tuple[str, object]:
    """The name and the value that a data file hands to the page."""
    found = _PUT.fullmatch(path.read_text(encoding="utf-8"))
    assert found, path
    return json.loads(found[1]), json.loads(found[2])


def whole_index(out: Path) -> dict:
    """The index with the scores as the page gives them to its runs."""
    index, scores = (data(out / f"data/{name}.js")[1] for name in ("index", "scores"))
    for run in index["runs"]:
        found = scores["runs"][run["key"]]
        run["scores"] = {
            key: dict(zip(scores["fields"], values, strict=True)) for key, values in found.items()
        }
    return index


class Read:
    """A built page."""

    def __init__(self, out: Path):
        self.out = out
        self.index = whole_index(out)
        self.runs = {run["key"]: run for run in self.index["runs"]}

    def questions(self, name: str) -> list:
        """All questions of a set."""
        return self._chunks(f"questions/{name}", "questions", name)

    def answers(self, key: str, benchmark: str) -> list:
        """A run's answers to a benchmark, at the places of the set's questions."""
        task = self.index["benchmarks"][benchmark]["task"]
        found = self._chunks(f"answers/{key}/{task}", "answers", key, task)
        assert self.runs[key]["scores"][benchmark]["chunks"] == len(
            list((self.out / "data/answers" / key).glob(f"{task}-*.js"))
        )
        return found

    def files(self) -> set[str]:
        """All files, but for those that say who writes."""
        return {
            path.relative_to(self.out).as_posix()
            for path in self.out.rglob("*")
            if path.is_file() and path.name != ".lock"
        }

    def content(self) -> dict[str, bytes]:
        """The bytes of all files."""
        return {name: (self.out / name).read_bytes() for name in self.files()}

    def _chunks(self, name: str, *place: str) -> list:
        found, number = [], 0
        while (path := self.out.joinpath("data", *place[:-1], f"{place[-1]}-{number}.js")).is_file():
            said, values = data(path)
            assert said == f"{name}/{number}"
            found += values
            number += 1
        return found
