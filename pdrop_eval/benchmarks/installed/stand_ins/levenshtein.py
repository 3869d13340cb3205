"""What MathVista takes of the package Levenshtein: one distance."""


def distance(one: str, other: str) -> int:
    """The fewest insertions, deletions and replacements of letters that make one text of another."""
    before = list(range(len(other) + 1))
    for place, letter in enumerate(one, 1):
        row = [place]
        for column, against in enumerate(other, 1):
            row.append(min(before[column] + 1, row[-1] + 1, before[column - 1] + (letter != against)))
        before = row
    return before[-1]
