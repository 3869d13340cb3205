"""The checks of golden cases: each file has `METHODS`, by method and level, or `FAMILIES`, by family first.

METHODS = {"pre-fastervlm": {"function": check}}; FAMILIES = {"qwen2_vl": {"fastv": {None: check}}}. A check
takes a `Case`, compares, and raises `MismatchError` for a value that is not ours. None is the level of a case
that has none.
"""
