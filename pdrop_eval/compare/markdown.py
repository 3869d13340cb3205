"""A comparison as GitHub's Markdown, ready for a comment: the verdict first, the details folded.

GitHub takes 65,536 characters; examples of changed answers are left out where the text would become longer
than `MOST`, and counted.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pdrop_eval.compare import shown
from pdrop_eval.compare.escaping import in_markdown, plain_markdown
from pdrop_eval.report.markdown import pipes
from pdrop_eval.report.numbers import difference, score

MOST = 60_000
_TEXT = 300  # characters of a question or an answer
_NAME = 100
_NOTES = 30
HEADS = (
    "Benchmark", "Questions", "Baseline", "Candidate", "Difference", "95% interval", "Adjusted", "MDE", "p",
    "p (Holm)", "Gained / lost (p)", "Agreement",
)  # fmt: skip
_MARKS = {True: "passed", False: "**failed**"}


def markdown(document: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """The whole comment; `rows` are the changed answers to show, in order."""
    if document["verdict"]["status"] == "not compared":
        return failure(document)
    head = "\n\n".join(
        [
            f"## {_title(document)}",
            plain_markdown(document["verdict"]["words"]),
            _checks(document["verdict"]["checks"]),
            _between(document),
            _benchmarks(document),
            _whole(document),
            *_groups(document),
            *_notes(document),
            _folded("What these numbers mean", _meanings(document)),
            _folded("Where they come from", _provenance(document)),
        ]
    )
    return f"{head}\n\n{_examples(document, rows, MOST - len(head))}\n"


def failure(document: Mapping[str, Any]) -> str:
    """What is written where nothing could be compared: the reason."""
    return f"## {_title(document)}\n\n{plain_markdown(document['verdict']['words'], 4000)}\n"


def _title(document: Mapping[str, Any]) -> str:
    names = [in_markdown(document["runs"][role]["name"], _NAME) for role in ("candidate", "baseline")]
    return f"{shown.VERDICTS[document['verdict']['status']]}: {names[0]} against {names[1]}"


def _checks(checks: Sequence[Mapping[str, Any]]) -> str:
    rows = [[_MARKS[check["passed"]], plain_markdown(check["words"], 400)] for check in checks]
    return pipes(["Check", ""], rows)


def _between(document: Mapping[str, Any]) -> str:
    return plain_markdown(f"{shown.setting(document)}. {shown.UNITS}", 1000)


def _benchmarks(document: Mapping[str, Any]) -> str:
    rows = [
        [
            plain_markdown(one["name"]),
            str(one["n"]),
            score(one["baseline"]),
            score(one["candidate"]),
            difference(one["difference"]),
            shown.interval(one["interval"]),
            shown.interval(one["adjusted"]),
            shown.points(one["smallest"]),
            shown.probability(one["p"]),
            shown.probability(one["p_holm"]).replace("<", "&lt;"),
            shown.mcnemar(one["mcnemar"]),
            shown.percent(one["agreement"]),
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
            shown.interval(whole["interval"]),
            "",
            shown.points(whole["smallest"]),
            shown.probability(whole["p"]),
            "",
            "",
            shown.percent(whole["agreement"]),
        ]
    )
    rows = [[cell.replace("<0", "&lt;0") for cell in row] for row in rows]
    return pipes(list(HEADS), rows, range(1, len(HEADS)))


def _whole(document: Mapping[str, Any]) -> str:
    whole = document["overall"]
    text = f"Relative performance: {shown.percent(whole['relative'])}"
    if ends := whole["relative_interval"]:
        text += f" (95% interval {ends[0]:.1f} to {ends[1]:.1f})"
    if whole["without_ratio"]:
        text += f", without {', '.join(whole['without_ratio'])}, where the baseline has 0"
    return plain_markdown(f"{text}. {shown.changes(document)}.")


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
    words = plain_markdown(shown.groups(found), 1000)
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
    more = [f"... and {len(notes) - _NOTES} more, in the JSON"] if len(notes) > _NOTES else []
    return "\n".join(f"- {plain_markdown(note, 400)}" for note in [*notes[:_NOTES], *more])


def _meanings(document: Mapping[str, Any]) -> str:
    lines = [f"- **{name}**: {plain_markdown(words)}" for name, words in shown.MEANINGS.items()]
    lines += [f"- {plain_markdown(words, 1000)}" for words in document["method"]]
    return "\n".join(lines)


def _provenance(document: Mapping[str, Any]) -> str:
    runs = document["runs"].values()
    rows = [
        ["Run", *(in_markdown(run["run_id"], _NAME) for run in runs)],
        ["Strategy", *(in_markdown(_fields(run["strategy"]), 200) for run in runs)],
        ["Checkpoint", *(in_markdown(_checkpoint(run["model"]), _NAME) for run in runs)],
        ["Code", *(in_markdown(_code(run["code"]), _NAME) for run in runs)],
        ["Limit", *(in_markdown("none" if run["limit"] is None else run["limit"]) for run in runs)],
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
    title = f"Changed answers: {shown.changes(document)}"
    if not rows:
        return f"{title}."
    heads = ["Question", "", "Target", "Baseline", "Candidate"]
    lines = [f"| {' | '.join(heads)} |", "|:---|:---|:---|:---|:---|"]
    size, left = sum(map(len, lines)) + 1000, 0
    for row in rows:
        line = f"| {' | '.join(_example(row))} |"
        if size + len(line) + 1 > room:
            left += 1
            continue
        size += len(line) + 1
        lines.append(line)
    files = document["files"]
    where = f"All of them are in {files['stem']}.answers.jsonl." if files else ""
    left_out = f" {left} more of the examples would make this text too long." if left else ""
    return _folded(title, "\n".join(lines) + f"\n\n{plain_markdown(f'{where}{left_out}', 600)}")


def _example(row: Mapping[str, Any]) -> list[str]:
    found = row["picture"] or f"content {str(row['content_sha256'])[:12]}"
    texts = [in_markdown(row[name], _TEXT) for name in ("question", "targets", "baseline", "candidate")]
    name = f"{plain_markdown(row['task'], _NAME)} {plain_markdown(row['doc_id'], 20)}"
    return [f"{name}<br>{in_markdown(found, _NAME)}", *texts]


def _folded(title: str, inside: str) -> str:
    """GitHub needs the empty lines to read the inside as Markdown."""
    return f"<details><summary>{plain_markdown(title)}</summary>\n\n{inside}\n\n</details>"
