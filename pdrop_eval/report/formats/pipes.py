"""A table in GitHub's Markdown, its columns set under each other as tabulate sets them.

tabulate asks each cell anew what it is; here all are texts, and a large sweep's table has a hundred thousand.
"""

from collections.abc import Container, Sequence

# What isn't Latin and as wide as a letter, which tabulate would ask wcwidth about.
_NARROW = frozenset("λΔαβγμπστ–—−…→←↑↓≤≥≈’‘“”†‡•⏎█▁▂▃▄▅▆▇√∞")
_LATIN = 0x300
_ROOM = 2  # a column is wider than its head by so much


def pipes(heads: Sequence[str], rows: Sequence[Sequence[str]], right: Container[int] = ()) -> str:
    """A table of texts that are escaped already; `right` are the columns that are aligned to the right."""
    if not rows or not _is_plain(heads, rows):
        return _tabulated(heads, rows, right)
    columns = [[text.strip() for text in column] for column in zip(*rows, strict=True)]
    widths = [max(len(head) + _ROOM, *map(len, column)) for head, column in zip(heads, columns, strict=True)]
    aligned = [place in right for place in range(len(heads))]
    layouts = list(zip(widths, aligned, strict=True))
    shown = [_set(column, *layout) for column, layout in zip(columns, layouts, strict=True)]
    head = [_set([text], *layout)[0] for text, layout in zip(heads, layouts, strict=True)]
    rule = "|".join(f"{'-' * (width + 1)}:" if end else f":{'-' * (width + 1)}" for width, end in layouts)
    return "\n".join([_line(head), f"|{rule}|", *map(_line, zip(*shown, strict=True))])


def _set(column: Sequence[str], width: int, end: bool) -> list[str]:
    return [text.rjust(width) for text in column] if end else [text.ljust(width) for text in column]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _is_plain(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether each letter is as wide as any other, and each row as long as the heads."""
    if not heads or any(len(row) != len(heads) for row in rows):
        return False
    texts = "".join([*heads, *map("".join, rows)])
    if not texts.isprintable():
        return False
    return texts.isascii() or all(ord(one) < _LATIN or one in _NARROW for one in {*texts})


def _tabulated(heads: Sequence[str], rows: Sequence[Sequence[str]], right: Container[int]) -> str:
    from tabulate import tabulate

    aligned = ["right" if index in right else "left" for index in range(len(heads))]
    return tabulate(rows, heads, tablefmt="pipe", colalign=aligned, disable_numparse=True)
