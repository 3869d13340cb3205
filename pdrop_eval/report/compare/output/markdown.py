"""A comparison as GitHub's Markdown, ready for a comment: the verdict first, the details folded.

GitHub takes 65,536 characters. What records and settings say is cut everywhere, and where the text would
still become longer than `MOST`, folded parts and examples of changed answers are left out, and counted. A
character can take fourteen in a text that is safe to show.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pdrop_eval.report.compare.output import format
from pdrop_eval.report.formats.pipes import pipes
from pdrop_eval.utils.text.escape import in_markdown, plain_markdown
from pdrop_eval.utils.text.numbers import difference, score

MOST = 60_000
_TEXT = 300  # characters of a question or an answer
_NAME = 100
_LINE = 400  # characters of a sentence
_NOTES = 30
_LISTED = 10_000  # characters of a list of notes, with their markup
_EXAMPLES = 3_000  # characters that are left for changed answers at least
_FOLD = "<details>"
HEADS = (
    "Benchmark", "Questions", "Baseline", "Candidate", "Difference", "95% interval", "Adjusted", "MDE", "p",
    "p (Holm)", "Gained / lost (p)", "Agreement",
)  # fmt: skip
_MARKS = {True: "passed", False: "**failed**"}


def markdown(document: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """The whole comment; `rows` are the changed answers to show, in order."""
    if document["verdict"]["status"] == "not compared":
        return failure(document)
    parts = [
        f"## {_title(document)}",
        plain_markdown(document["verdict"]["words"], _LINE),
        _checks(document["verdict"]["checks"]),
        _between(document),
        _benchmarks(document),
        _whole(document),
        *_groups(document),
        *_notes(document),
        _folded("What these numbers mean", _meanings(document)),
        _folded("Where they come from", _provenance(document)),
    ]
    head = _fitted(parts, MOST - _EXAMPLES)
    return f"{head}\n\n{_examples(document, rows, MOST - len(head) - 3)}\n"


def failure(document: Mapping[str, Any]) -> str:
    """What is written where nothing could be compared: the reason."""
    title = f"## {_title(document)}"
    return f"{title}\n\n{_cut(document['verdict']['words'], MOST - len(title) - 3)}\n"


def _fitted(parts: Sequence[str], room: int) -> str:
    """The parts, without the longest of the folded ones until they fit; what stands open is bounded."""
    kept, left_out = list(parts), 0
    while sum(len(part) + 2 for part in kept) + 100 > room:
        folded = [part for part in kept if part.startswith(_FOLD)]
        if not folded:
            break
        kept.remove(max(folded, key=len))
        left_out += 1
    if left_out:
        kept.append(f"{left_out} of the folded parts would make this text too long; the JSON has them.")
    return "\n\n".join(kept)


def _cut(text: object, room: int) -> str:
    """Plain words in at most so many characters, of which markup takes many for one."""
    raw, most = str(text), 4000
    while len(cut := plain_markdown(raw, most)) > room:
        most = most * 3 // 4
    return cut


def _title(document: Mapping[str, Any]) -> str:
    names = [in_markdown(document["runs"][role]["name"], _NAME) for role in ("candidate", "baseline")]
    return f"{format.VERDICTS[document['verdict']['status']]}: {names[0]} against {names[1]}"


def _checks(checks: Sequence[Mapping[str, Any]]) -> str:
    rows = [[_MARKS[check["passed"]], _cut(check["words"], 1500)] for check in checks]
    return pipes(["Check", ""], rows)


def _between(document: Mapping[str, Any]) -> str:
    return plain_markdown(f"{format.setting(document)}. {format.UNITS}", 600)


def _benchmarks(document: Mapping[str, Any]) -> str:
    rows = [
        [
            plain_markdown(one["name"]),
            str(one["n"]),
            score(one["baseline"]),
            score(one["candidate"]),
            difference(one["difference"]),
            format.interval(one["interval"]),
            format.interval(one["adjusted"]),
            format.points(one["smallest"]),
            format.probability(one["p"]),
            format.probability(one["p_holm"]).replace("<", "&lt;"),
            format.mcnemar(one["mcnemar"]),
            format.percent(one["agreement"]),
        ]
        for one in document["benchmarks"]
    ]
    whole = document["overall"]
    rows.append(
        [
            "**Mean**",
            str(whole["n"]),
            "",
            "",
            f"**{difference(whole['difference'])}**",
            format.interval(whole["interval"]),
            "",
            format.points(whole["smallest"]),
            format.probability(whole["p"]),
            "",
            "",
            format.percent(whole["agreement"]),
        ]
    )
    rows = [[cell.replace("<0", "&lt;0").replace(">1", "&gt;1") for cell in row] for row in rows]
    return pipes(list(HEADS), rows, range(1, len(HEADS)))


def _whole(document: Mapping[str, Any]) -> str:
    whole = document["overall"]
    text = f"Relative performance: {format.percent(whole['relative'])}"
    if ends := whole["relative_interval"]:
        text += f" (95% interval {ends[0]:.1f} to {ends[1]:.1f})"
    if whole["without_ratio"]:
        text += f", without {', '.join(whole['without_ratio'])}, where the baseline has 0"
    return plain_markdown(f"{text}. {format.changes(document)}.")


def _groups(document: Mapping[str, Any]) -> list[str]:
    found = document["groups"]
    if not found:
        return []
    rows = [
        [plain_markdown(one["name"]), *_group(one["hard"]), *_group(one["easy"]), str(one["neither"])]
        for one in found["benchmarks"]
    ]
    kept = "Candidate right, % (95% interval)"
    heads = ["Benchmark", "Hard", kept, "Easy", kept, "Neither"]
    words = plain_markdown(format.groups(found), 1000)
    return [words, _folded("Hard and easy questions of each benchmark", pipes(heads, rows, range(1, 6)))]


def _group(found: Mapping[str, Any]) -> list[str]:
    ends = found["interval"]
    interval = f" ({ends[0]:.1f} to {ends[1]:.1f})" if ends else ""
    return [str(found["n"]), f"{score(found['candidate'])}{interval}"]


def _notes(document: Mapping[str, Any]) -> list[str]:
    notes = [f"Not compared: {one['name']}: {one['why']}" for one in document["left_out"]]
    notes += [f"Warning: {text}" for text in document["warnings"]]
    single = [f"{one['name']}: {note}" for one in document["benchmarks"] for note in one["notes"]]
    folded = [_folded("Notes on single benchmarks", _listed(single))] if single else []
    return [*([_listed(notes)] if notes else []), *folded]


def _listed(notes: Sequence[str]) -> str:
    lines, size = list[str](), 0
    for note in notes[:_NOTES]:
        line = f"- {plain_markdown(note, _LINE)}"
        size += len(line) + 1
        if size > _LISTED:
            break
        lines.append(line)
    if left := len(notes) - len(lines):
        lines.append(f"- ... and {left} more, in the JSON")
    return "\n".join(lines)


def _meanings(document: Mapping[str, Any]) -> str:
    lines = [f"- **{name}**: {plain_markdown(words)}" for name, words in format.MEANINGS.items()]
    lines += [f"- {plain_markdown(words, 1000)}" for words in document["method"]]
    return "\n".join(lines)


def _provenance(document: Mapping[str, Any]) -> str:
    runs = document["runs"].values()
    rows = [
        ["Run", *(in_markdown(run["run_id"], _NAME) for run in runs)],
        ["Strategy", *(in_markdown(_fields(run["strategy"]), 200) for run in runs)],
        ["Checkpoint", *(in_markdown(_checkpoint(run["model"]), _NAME) for run in runs)],
        ["Code", *(in_markdown(_code(run["code"]), _NAME) for run in runs)],
        ["Limit", *(in_markdown("none" if run["limit"] is None else run["limit"], 20) for run in runs)],
        ["Made", *(in_markdown(run["created"], _NAME) for run in runs)],
        ["Command", *(in_markdown(run["command"], 200) for run in runs)],
    ]
    return pipes(["", *(plain_markdown(run["role"]) for run in runs)], rows)


def _fields(strategy: Mapping[str, Any]) -> str:
    fields = strategy.get("fields") or {}
    return " ".join([str(strategy.get("name")), *(f"{k}={v}" for k, v in fields.items() if v is not None)])


def _checkpoint(model: Mapping[str, Any]) -> str:
    content = model.get("sha256") or model.get("commit") or "unknown"
    return f"{model.get('name')} {str(content)[:12]}"


def _code(code: Mapping[str, Any]) -> str:
    commit = str(code.get("commit") or "no commit")[:10]
    dirty = ", with changes" if code.get("dirty") else ""
    return f"{code.get('version')} at {commit}{dirty}, {str(code.get('sha256'))[:12]}"


def _examples(document: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], room: int) -> str:
    """As many changed answers as there is room for, folded."""
    title = f"Changed answers: {format.changes(document)}"
    if not rows:
        return f"{title}."
    heads = ["Question", "", "Target", "Baseline", "Candidate"]
    lines = [f"| {' | '.join(heads)} |", "|:---|:---|:---|:---|:---|"]
    stem = document["files"]["stem"] if document["files"] else ""
    where = _cut(f"All of them are in {stem}.answers.jsonl.", 600) if stem else ""
    size, left = len(_folded(title, "\n".join(lines))) + len(where) + 100, 0
    for row in rows:
        line = f"| {' | '.join(_example(row))} |"
        if size + len(line) + 1 > room:
            left += 1
            continue
        size += len(line) + 1
        lines.append(line)
    left_out = f" {left} more of the examples would make this text too long." if left else ""
    return _folded(title, "\n".join(lines) + f"\n\n{where}{left_out}")


def _example(row: Mapping[str, Any]) -> list[str]:
    found = row["picture"] or f"content {str(row['content_sha256'])[:12]}"
    texts = [in_markdown(row[name], _TEXT) for name in ("question", "targets", "baseline", "candidate")]
    name = f"{plain_markdown(row['task'], _NAME)} {plain_markdown(row['doc_id'], 20)}"
    return [f"{name}<br>{in_markdown(found, _NAME)}", *texts]


def _folded(title: str, inside: str) -> str:
    """GitHub needs the empty lines to read the inside as Markdown."""
    return f"{_FOLD}<summary>{plain_markdown(title)}</summary>\n\n{inside}\n\n</details>"
