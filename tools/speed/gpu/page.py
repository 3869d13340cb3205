"""`results/efficiency/gpu.md`: what each step found, in tables. No torch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pdrop_eval.report.formats.markdown import escaped, pipes
from tools.speed.gpu.steps import FAMILIES, STEPS

_INTRO = """# On one GPU

Made by `make gpu`, which measures in under nine minutes what a processor can't show. Models have the
published sizes and random weights; nothing is downloaded. Each step runs in a process of its own."""
_TINY = """**There was no GPU.** This is a trial of every line on a processor, with models of a few layers and
random weights: it shows that the script works. No number here says anything about a GPU, nor about a real
model."""
_BLOCKS = " .:-=+*#%@"
_BOUND = """A bound is what a phase would take at the rates above: a prefill and a first token by their FLOPs
(twice the multiply-adds by formula), a decode step by its FLOPs or by the bytes of weights and cache that it
reads, whichever takes longer."""

Result = Mapping[str, Any]


def gpu_page(found: Mapping[str, Any]) -> str:
    """Return the whole page.

    Args:
        found: what the JSON file holds.
    """
    environment, steps = found["environment"], found["steps"]
    parts = [_INTRO, *([_TINY] if environment["tiny"] else []), _environment(environment)]
    for step in STEPS:
        entry = steps.get(step.name)
        parts.append(f"## {step.title}")
        if entry is None:
            parts.append(f"Not done yet: `make gpu` goes on with it (`--only {step.name}`).")
            continue
        if entry["status"] != "done":
            parts.append(escaped(f"{entry['status'].capitalize()}: {entry.get('reason', '')}."))
        if entry.get("result"):
            parts += _SECTIONS.get(step.name, _family)(entry["result"])
        parts.append(f"{entry['seconds']:.0f} s of {entry['allowed_seconds']:.0f} s.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _environment(found: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    code = found["code"]
    commit = f", commit {code['commit'][:10]}" if code.get("commit") else ""
    lines = [
        f"Device: {found['device']}",
        f"Host: {found['cpu']}, {found['cores']} cores",
        f"Kernels that SDPA may take: {', '.join(found['attention_backends'])}",
        f"Packages: {packages}",
        f"pdrop-eval {code['version']}{commit}{' with changes' if code.get('dirty') else ''}",
    ]
    return "\n".join(f"- {escaped(line)}" for line in lines)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return pipes(list(heads), [[escaped(cell) for cell in row] for row in rows], set(range(1, len(heads))))


def _rates(found: Result) -> list[str]:
    return [
        _table(
            ("", "reached"),
            [
                ("device", f"{found['name']}, {_gib(found['memory_bytes'])}, {found['capability']}"),
                ("products of matrices in bfloat16", f"{found['flops'] / 1e12:,.1f} TFLOP/s"),
                ("copies within its memory", f"{found['bytes_per_second'] / 1e9:,.1f} GB/s"),
            ],
        )
    ]


def _answers(found: Result) -> list[str]:
    labels = list(next(iter(found["ways"].values())))
    rows = [
        (way, *(f"{_share(own[label]['answers'])}, {_share(own[label]['tokens'])}" for label in labels))
        for way, own in found["ways"].items()
    ]
    said = (
        f"{found['questions']} questions to the miniature; the share of answers, and of retained "
        "tokens, that are those of the processor in float32 with SDPA."
    )
    return [said, _table(("", *labels), rows)]


def _padding(found: Result) -> list[str]:
    labels = list(next(iter(found["ways"].values())))
    rows = [
        (
            way,
            *(
                f"{_share(own[label]['same'])}, {'finite' if own[label]['finite'] else 'NOT FINITE'}"
                for label in labels
            ),
        )
        for way, own in found["ways"].items()
    ]
    said = (
        "The share of answers that are the same alone and in one padded batch; and whether logits and cache "
        "are finite."
    )
    return [said, _table(("", *labels), rows)]


def _about(found: Result) -> str:
    return (
        f"{found['layers']} layers, {found['width']:,} wide, {_gib(found['weight_bytes'])} of weights in "
        f"{found['dtype']}; {found['image_tokens']:,} image tokens, {found['text_tokens']} of text, "
        f"{found['new_tokens']} decode steps."
    )


def _family(found: Result) -> list[str]:
    parts = [_about(found)]
    for name, reason in found.get("left_out", {}).items():
        parts.append(escaped(f"Without {name}: {reason}"))
    for rows, batch in found["batches"].items():
        parts += [f"**Batch {rows}**", *_batch(batch)]
    return [*parts, _BOUND]


def _batch(batch: Result) -> list[str]:
    heads = ("", "prefill", "first token", "decode step", "peak beside weights", "KV cache")
    rows = [
        (
            label,
            *(_phase(own[phase]) for phase in ("prefill", "ttft", "decode")),
            _gib(own["peak_bytes"]),
            _gib(own["kv_bytes"]),
        )
        for label, own in batch["variants"].items()
    ]
    full = [escaped(f"{label} ran out of memory: {why}") for label, why in batch["out_of_memory"].items()]
    return [*([_table(heads, rows)] if rows else []), *full]


def _phase(found: Result) -> str:
    bound = found["bound_seconds"]
    times = "" if found["speedup"] is None else f", {found['speedup']:.2f}x"
    return f"{_ms(found['seconds'])}{times}" + (f" (bound {_ms(bound)})" if bound else "")


def _attention(found: Result) -> list[str]:
    parts = [_about(found)]
    for way, own in found["ways"].items():
        parts.append(f"**{way}**")
        if "skipped" in own:
            parts.append(escaped(f"Skipped: {own['skipped']}."))
            continue
        for rows, batch in own.items():
            parts += [f"Batch {rows}:", *_batch(batch)]
    return parts


def _largest(found: Result) -> list[str]:
    rows = [
        (str(one["rows"]), "fits" if one["fits"] else "out of memory", _gib(one["kept_bytes"]))
        for one in found["tries"]
    ]
    return [_about(found), _table(("rows", "", "left behind"), rows)]


def _kernels(found: Result) -> list[str]:
    rows, named = [], []
    for way, own in found["ways"].items():
        times = (f"{_ms(first)}, {_ms(second)}" for first, second in own["seconds"].values())
        rows.append((way, *times))
        for phase in ("prefill", "decode"):
            kernels = "; ".join(f"{number} x {name}" for name, number in own[phase]) or "none"
            named.append(f"- {escaped(f'{way}, {phase}: {kernels}')}")
    first = next(iter(found["ways"].values()))
    said = (
        f"{first['steps']} decode steps of two rows, the first and the second time; {found['layers']} layers."
    )
    return [
        said,
        _table(("", *first["seconds"]), rows),
        "Kernels of attention under PDrop:",
        "\n".join(named),
    ]


def _gradients(found: Result) -> list[str]:
    rows = [(what, *(str(number) for number in own.values())) for what, own in found.items()]
    said = (
        "Values of gradients that aren't finite: of attention alone (192 tokens, an explicit mask), and of a "
        "step of PDrop."
    )
    return [said, _table(("", *next(iter(found.values()))), rows)]


def _waits(found: Result) -> list[str]:
    lines = [f"Of a prefill and {found['steps']} decode steps of padded rows, with the number of times:"]
    for label, places in found["waits"].items():
        named = ", ".join(f"{where} {number}" for where, number in places) or "none was seen"
        lines.append(f"- {escaped(f'{label}: {named}')}")
    return ["\n".join([lines[0], "", *lines[1:]])]


def _tower(found: Result) -> list[str]:
    rates = [(way, f"{rate:,.1f}") for way, rate in found["images_per_second"].items()]
    copies = [(way, f"{rate / 1e9:,.2f}") for way, rate in found["bytes_per_second"].items()]
    return [
        _table((f"{found['images']} images", "images a second"), rates),
        _table(("memory of the host", "GB/s"), copies),
    ]


def _loading(found: Result) -> list[str]:
    rows = [(way, f"{one['seconds']:.1f} s", _gib(one["host_bytes"])) for way, one in found["ways"].items()]
    return [
        f"{_gib(found['weight_bytes'])} of weights.",
        _table(("", "time", "host's memory at its peak"), rows),
    ]


def _training(found: Result) -> list[str]:
    rows = [
        (
            way,
            _ms(one["seconds"]),
            _gib(one["peak_bytes"]),
            _gib(one["estimated_bytes"]),
            ", ".join(f"{loss:.3f}" for loss in one["losses"]),
        )
        for way, one in found["ways"].items()
    ]
    parts = [
        f"{found['layers']} layers, two rows, {found['steps']} steps; the estimate is the dry run's.",
        _table(("", "step", "peak", "estimate", "losses"), rows),
    ]
    if sharded := found.get("fsdp"):
        losses = "; ".join(
            f"{way}: {', '.join(f'{loss:.4f}' for loss in own)}" for way, own in sharded["losses"].items()
        )
        parts.append(f"Losses of PDrop in a world of one, {losses}. ZeRO-3 isn't tried here.")
    return parts


def _harness(found: Result) -> list[str]:
    rows = [
        (
            f"{one['strategy']}, {one['workers']} workers",
            f"{one['questions_per_second']:.2f}",
            f"{one['model_seconds']:.1f} s",
            f"{one['waiting_seconds']:.1f} s",
        )
        for one in found["contenders"]
    ]
    parts = [
        f"{found['questions']} rendered questions, a picture each, batch {found['batch_size']}.",
        _table(("", "questions a second", "in the model", "waiting for questions"), rows),
    ]
    for label, own in found.get("timeline", {}).items():
        bar = "".join(_BLOCKS[round(min(max(one, 0), 1) * (len(_BLOCKS) - 1))] for one in own["slices"])
        parts.append(
            f"{label}, {own['seconds']:.2f} s under the profiler, of which the device was busy "
            f"{own['busy']:.0%} (a mark is a fortieth of the time; blank: idle):\n\n```text\n|{bar}|\n```"
        )
    return parts


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _ms(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB" if abs(size) >= 2**28 else f"{size / 2**20:.2f} MiB"


_SECTIONS: dict[str, Callable[[Result], list[str]]] = {
    **dict.fromkeys(FAMILIES, _family),
    "rates": _rates,
    "answers": _answers,
    "padding": _padding,
    "attention": _attention,
    "largest": _largest,
    "kernels": _kernels,
    "gradients": _gradients,
    "waits": _waits,
    "tower": _tower,
    "loading": _loading,
    "training": _training,
    "harness": _harness,
}
