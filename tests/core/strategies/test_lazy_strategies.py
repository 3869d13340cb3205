"""A strategy's file imports torch only when a model is used, so that wrong settings are refused at once."""

import json
import subprocess
import sys

import pytest

from pdrop_eval.strategies.make import make_strategy
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import options

NAMES = options("strategy")
PATHS = {("cdpruner", "text_tower")}  # texts of any kind, read when a model is known

# An import of torch would be an error here. Some fields take some of the values; those that don't say so.
PROGRAM = """
import dataclasses, json, sys
nan, depth = float("nan"), 8
WRONG = ["nonsense", {"a": 1}, [[1]], nan, [nan], -1]
ODD = [*WRONG, [], [1], [1, 2], [1, 2, 3], 0, 1, 10**9, -0.5, 2.0, "", True, None, "x" * 5000]
sys.modules["torch"] = None
from pdrop_eval.strategies.make import instantiate_strategy, settings_of
from pdrop_eval.utils.errors import UserError
found = {}
for name in json.loads(sys.argv[1]):
    usual = settings_of(name)
    fields = [field.name for field in dataclasses.fields(instantiate_strategy(usual)) if field.init]
    found[name] = said = {}
    for field in fields:
        said[field] = []
        for value in ODD:
            try:
                instantiate_strategy({**usual, field: value}, [field]).drops(depth)
                answer = "accepted"
            except UserError as error:
                answer = str(error)
            said[field].append((repr(value)[:40], answer, value in WRONG))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def refusals():
    """By strategy and field: values, what is said of each, and whether no field but a path can have it."""
    command = [sys.executable, "-c", PROGRAM, json.dumps(NAMES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_refuses_what_it_cannot_be_by_its_name_without_torch(refusals, name):
    for field, said in refusals[name].items():
        for value, answer, wrong in said:
            text = value.startswith("'") and value != "''"
            if (name, field) in PATHS and text:
                assert answer == "accepted"
                continue
            assert answer == "accepted" or field in answer, (field, value, answer)
            assert "torch" not in answer
            assert answer != "accepted" or not wrong, (field, value)


def test_a_text_tower_is_a_text():
    for wrong in (1, "", [], {"a": 1}):
        with pytest.raises(UserError, match=r"text_tower=.* names no CLIP: give a folder"):
            make_strategy("cdpruner", {"text_tower": wrong})
