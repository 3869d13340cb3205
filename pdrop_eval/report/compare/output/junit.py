"""A comparison as JUnit XML: a test case a check of the gate, which every CI can show.

A check that fails is a failure with its numbers, a benchmark that was left out is skipped, and where nothing
could be compared there is an error: never an empty, passing suite.
"""

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from pdrop_eval.report.compare.output import format
from pdrop_eval.utils.text.escape import visible
from pdrop_eval.utils.text.numbers import of_points

_CLASS = "pdrop-eval-compare"


def junit(document: Mapping[str, Any]) -> str:
    """The whole file."""
    verdict, runs = document["verdict"], document["runs"]
    name = f"{runs['candidate']['name']} against {runs['baseline']['name']}"
    cases = [_check(check) for check in verdict["checks"]]
    cases += [_left_out(one) for one in document["left_out"]]
    if verdict["status"] == "not compared":
        cases.append(_case("comparison", "error", verdict["words"], "CannotCompare"))
    count = {kind: str(sum(case.find(kind) is not None for case in cases))
             for kind in ("failure", "error", "skipped")}  # fmt: skip
    counts = {"tests": str(len(cases)), "failures": count["failure"], "errors": count["error"]}
    root = ElementTree.Element("testsuites", {"name": _CLASS, **counts})
    timestamp = str(document["created"])[:19]
    suite = ElementTree.SubElement(
        root, "testsuite",
        {"name": visible(name), **counts, "skipped": count["skipped"], "time": "0", "timestamp": timestamp},
    )  # fmt: skip
    suite.extend(cases)
    output = ElementTree.SubElement(suite, "system-out")
    output.text = "\n".join(map(visible, [verdict["words"], *_lines(document)]))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _check(check: Mapping[str, Any]) -> ElementTree.Element:
    name = f"{check['title']} may lose {of_points(check['limit'])}"
    if check["kind"] == "changed":
        name = f"{check['limit']:g}% of the answers may change"
    return _case(name, None if check["passed"] else "failure", check["words"], "Regression")


def _left_out(one: Mapping[str, Any]) -> ElementTree.Element:
    return _case(f"{one['name']} compared", "skipped", one["why"])


def _case(name: str, kind: str | None, words: str, of_type: str | None = None) -> ElementTree.Element:
    case = ElementTree.Element("testcase", {"classname": _CLASS, "name": visible(name), "time": "0"})
    if kind:
        found = ElementTree.SubElement(case, kind, {"message": visible(words)})
        if of_type:
            found.set("type", of_type)
            found.text = visible(words)
    return case


def _lines(document: Mapping[str, Any]) -> list[str]:
    """The numbers behind the checks."""
    lines = [
        f"{one['name']}: n {one['n']}, baseline {one['baseline']:.2f}, candidate {one['candidate']:.2f}, "
        f"difference {one['difference']:+.2f} points, 95% interval {format.interval(one['interval'])}"
        for one in document["benchmarks"]
    ]
    return [*lines, *(f"Warning: {text}" for text in document["warnings"])]
