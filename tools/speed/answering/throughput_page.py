"""`results/efficiency/throughput.md`: how many questions a second are answered, from `make throughput`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.report.formats.markdown import escaped, pipes
from pdrop_eval.strategies.registry import display_name

FILE = Path("results/efficiency/throughput.json")
BUSY = 0.5  # cores: with others at more than that, it is said what they have to do with a missed goal
GOAL = 0.05  # what the harness may add to the model's own time
SLOW = 40  # milliseconds of the model for a question, from which on the harness has to stay below that
GAIN, SPEEDUP = 2.0, 3.5  # over the earlier commit, and over lmms-eval's own model
_INTRO = """# Evaluation throughput

Made by `make throughput`: the same model and the same questions, answered by lmms-eval's own `llava_hf` model
(which takes one question at a time) and by pdrop-eval, all in turn. Numbers are medians over the rounds, with
quartiles in brackets. A speed-up is the time of lmms-eval's model divided by the other's in the same
round, a gain the same over the earlier commit's code, which runs beside it by its own defaults."""
_EXPLAINED = """Questions a second count answering only, from the first question that is handed over to the
last answer; so does the processor time, in milliseconds a question over all threads, which other processes
change little. Beyond the model's own time (vision tower, prefill, decoding), the harness reads questions,
decodes and processes images, forms batches and waits. "harness, answering" is this time in percent of the
model's; "harness, task" also includes loading the task's data, scoring and the bootstrap. The model's own
time is that of the same round without workers, when nothing else runs beside it. Workers are background
threads. The cache stores an image's features, so that the vision tower runs once for it (hits: images whose
features were in the cache), and the prefix of its prompts, which its questions share. Every task starts with
an empty cache. Batches and threads are those that `auto` chooses on the machine as it was: where others keep
its cores busy, one thread."""


def throughput_page(found: Mapping[str, Any]) -> str:
    """The whole page."""
    return "\n\n".join([_INTRO, _where(found), _table(found), _goal(found), _EXPLAINED]) + "\n"


def throughput_lines(found: Mapping[str, Any]) -> str:
    """The rates alone, as a list."""
    return "\n".join(
        f"- {_name(one)}: {one['samples_per_second'][1]:.1f} questions a second, "
        f"{one['speedup'][1]:.2f} times stock"
        for one in found["contenders"]
    )


def _where(found: Mapping[str, Any]) -> str:
    packages, code, hardware = found["packages"], found["code"], found["hardware"]
    on = (
        hardware["gpus"][0]
        if found["device"].startswith("cuda")
        else f"{hardware['cpu']}, {hardware['cores']} cores"
    )
    others = found["load"].get("others")
    busy = "" if others is None else f" Others kept {others:.1f} cores busy meanwhile."
    commit = f" at {code['commit'][:10]}" if code.get("commit") else ""
    changed = " with changes" if code.get("dirty") else ""
    return (
        f"model={found['model']}, suite={found['suite']}: {found['samples']} questions of "
        f"{', '.join(found['tasks'])}, {found['rounds']} rounds. {escaped(on)}, {found['threads']} thread(s) "
        f"for the model{_preparing(found)}, {found['dtype']}; torch {packages['torch']}, "
        f"transformers {packages['transformers']}, lmms-eval {packages['lmms-eval']}; "
        f"code {code['version']}{commit}{changed}.{busy}"
    )


def _preparing(found: Mapping[str, Any]) -> str:
    """How many threads prepare questions by default; nothing where it isn't known."""
    return f" and {found['workers']} that prepare questions" if "workers" in found else ""


def _table(found: Mapping[str, Any]) -> str:
    rows = []
    for one in found["contenders"]:
        stock = one["strategy"] is None
        rows.append(
            [
                _name(one),
                _range(one["samples_per_second"], 1),
                "1" if stock else _range(one["speedup"], 2),
                _range(one["gain"], 2) if "gain" in one else "",
                _range(one["processor_ms"], 1),
                _percent(one["answering_overhead"]) if "answering_overhead" in one else "",
                _percent(one["task_overhead"]) if "task_overhead" in one else "",
                "" if one.get("hit_rate") is None else f"{one['hit_rate']:.0%}",
                f"{one['same_answers'] / found['samples']:.1%}",
                f"{one['as_before'] / found['samples']:.1%}" if "as_before" in one else "",
            ]
        )
    heads = [
        "", "Questions/s", "Speed-up", "Gain", "Processor, ms", "Harness, answering", "Harness, task",
        "Cache hits", "Answers as stock", "as before",
    ]  # fmt: skip
    return pipes(heads, rows, set(range(1, 10)))


def _goal(found: Mapping[str, Any]) -> str:
    """Whether each goal is met, for each way of answering with workers; what is missed, by how much."""
    ways = [one for one in found["contenders"] if "answering_overhead" in one and not _alone(one)]
    alone = {one["strategy"]: one for one in found["contenders"] if one["strategy"] and _alone(one)}
    blocks = []
    if any("gain" in one for one in ways):
        heading = (
            f"Goals: at least {GAIN:g} times the questions a second of commit {found['before']}, and "
            f"{SPEEDUP:g} times those of lmms-eval's own model."
        )
        lines = [
            f"- {_name(one)}: {_times(one['gain'][1], GAIN)} over {found['before']} "
            f"({one['processor_gain'][1]:.2f} times in processor time); "
            f"{_times(one['speedup'][1], SPEEDUP)} over lmms-eval's."
            for one in ways
            if "gain" in one
        ]
        blocks += [heading, "\n".join(lines), *_why(found, ways)]
    heading = (
        f"Goal: while answering, the harness adds at most {GOAL:.0%} to the model's own time, from {SLOW} ms "
        "a question on."
    )
    blocks += [heading, "\n".join(_share(one, alone.get(one["strategy"])) for one in ways)]
    if alone:
        spent = [_milliseconds(one) for one in alone.values()]
        blocks.append(
            f"Without workers, a question takes {_span([own for own, _ in spent])} ms in the model and "
            f"{_span([beyond for _, beyond in spent])} ms outside it. This is mostly Python code, which "
            "shares one interpreter with the Python code of a small model's layers, so threads hide it only "
            "where the model takes longer for a question."
        )
    return "\n\n".join(blocks)


def _why(found: Mapping[str, Any], ways: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the machine had to do with what is missed; nothing where the model had all cores or nothing is."""
    others, cores = found["load"].get("others") or 0.0, found["hardware"]["cores"]
    missed = any(one.get("gain", (0, GAIN))[1] < GAIN or one["speedup"][1] < SPEEDUP for one in ways)
    if not missed or others < BUSY or found["threads"] >= cores:
        return []
    return [
        f"Others kept {others:.1f} of the {cores} cores busy meanwhile, so threads=auto took "
        f"{found['threads']}, and the threads that prepare questions had no core of their own: what a second "
        "core brings isn't in these numbers. Times on the wall are then mostly what others did at that "
        "moment, and vary from run to run; the gain in processor time is what the code saves by itself."
    ]


def _times(value: float, goal: float) -> str:
    """`2.31 times, met`, or by how much it is missed."""
    met = "met" if value >= goal else f"missed by {goal - value:.2f}"
    return f"{value:.2f} times, {met}"


def _share(one: Mapping[str, Any], alone: Mapping[str, Any] | None) -> str:
    """What the harness adds, and whether it may, where the model takes long enough for the goal to hold."""
    over = one["answering_overhead"][1]
    own = None if alone is None else _milliseconds(alone)[0]
    if own is not None and own < SLOW:
        met = f"no goal: the model takes {own:.1f} ms"
    else:
        met = "met" if over <= GOAL else f"missed by {100 * (over - GOAL):.1f} points"
    return f"- {_name(one)}: {100 * over:.1f}%, {met}."


def _milliseconds(one: Mapping[str, Any]) -> tuple[float, float]:
    """Of a question: the model's own time, and what is beyond it."""
    whole, over = 1e3 / one["samples_per_second"][1], one["answering_overhead"][1]
    return whole / (1 + over), whole * over / (1 + over)


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.1f}", f"{max(values):.1f}"
    return low if low == high else f"{low} to {high}"


def _name(one: Mapping[str, Any]) -> str:
    if one["strategy"] is None:
        return f"lmms-eval llava_hf, batch {one['batch_size']}"
    which = ", before" if one.get("before") else ", no workers" if _alone(one) else ""
    return f"{display_name(one['strategy'])}, batch {one['batch_size']}{which}"


def _alone(one: Mapping[str, Any]) -> bool:
    """Whether it was told to prepare each question in its turn."""
    return bool(one["alone"] if "alone" in one else one["strategy"] and one["workers"] == 0)


def _range(values: Sequence[float], digits: int) -> str:
    low, middle, high = (f"{value:.{digits}f}" for value in values)
    return f"{middle} [{low}, {high}]"


def _percent(values: Sequence[float]) -> str:
    low, middle, high = (f"{100 * value:.1f}" for value in values)
    return f"{middle}% [{low}, {high}]"
