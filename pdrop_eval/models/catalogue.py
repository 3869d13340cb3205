"""The model families as a table, for the documentation. Imports no torch."""

from pdrop_eval.models import families
from pdrop_eval.models.family import Family, MultimodalFamily
from pdrop_eval.utils.paths import CONF


def catalogue(folder: str) -> str:
    """Return the model families as a table in Markdown.

    Args:
        folder: Where their files are, as a link from the page that shows them.
    """
    lines = [
        "| family | name | `model=` | text model | before the decoder | trains | transformers | file |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in families.names():
        cells = (f"`{name}`", *_cells(families.get(name)), f"[{name}.py]({folder}/{name}.py)")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(family: Family) -> tuple[str, ...]:
    text = ", ".join(family.text_types)
    version = f"{family.lowest_transformers} or newer" if family.lowest_transformers else "any"
    if not isinstance(family, MultimodalFamily):
        return "a decoder alone", "-", text, "-", "no", version
    if family.unreduced:
        before = "none"
    else:
        before = "all" if family.reduced_by is None else ", ".join(family.reduced_by)
    trains = "yes" if family.parameter_parts else "no"
    return family.display_name, _configs(family.architecture), text, before, trains, version


def _configs(architecture: str) -> str:
    """Return the configs in `conf/model` of an architecture's published checkpoints."""
    import yaml

    found = []
    for path in sorted((CONF / "model").glob("*.yaml")):
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
        if plain.get("architecture") == architecture:
            found.append(f"`{path.stem}`")
    return ", ".join(found) or "-"
