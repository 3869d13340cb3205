"""Whether two texts ask the same, where programs phrase what is around a question in ways of their own."""

_LEAST = 6  # letters of a text that is looked for in another one: shorter ones are in most


def same_question(one: str, other: str) -> bool:
    """Tell whether one text has the other in it, or both begin with the same line; white space doesn't count.

    Other programs end a prompt with words of their own ("Answer yes or no."), or leave the choices out.
    """
    first, second = _plain(one), _plain(other)
    if not first or not second:
        return first == second
    shorter, longer = sorted((first, second), key=len)
    if len(shorter) >= _LEAST and shorter in longer:
        return True
    return first_line(one) == first_line(other)


def first_line(text: str) -> str:
    """Return a text's first line, in small letters and with single spaces."""
    return _plain(text.strip().split("\n")[0])


def same_prompt(one: str, other: str) -> bool:
    """Tell whether two texts are the same but for white space."""
    return _plain(one) == _plain(other)


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
