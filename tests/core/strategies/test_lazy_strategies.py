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

# An import of torch would be an error here.
PROGRAM = """
import dataclasses, json, sys
sys.modules["torch"] = None
from pdrop_eval.strategies.make import make_strategy
from pdrop_eval.utils.errors import UserError
found = {}
for name in json.loads(sys.argv[1]):
    fields = [field.name for field in dataclasses.fields(make_strategy(name)) if field.init]
    found[name] = said = {}
    for field in fields:
        try:
            said[field] = make_strategy(name, {field: "nonsense"}) and "accepted"
        except UserError as error:
            said[field] = str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def refusals():
    """By strategy and field, what is said of a value that no field but a path can have."""
    command = [sys.executable, "-c", PROGRAM, json.dumps(NAMES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_refuses_nonsense_without_torch(refusals, name):
    for field, said in refusals[name].items():
        if (name, field) in PATHS:
            assert said == "accepted"
        else:
            assert field in said
            assert "torch" not in said


def test_a_text_tower_is_a_text():
    for wrong in (1, "", [], {"a": 1}):
        with pytest.raises(UserError, match=r"text_tower=.* names no CLIP: give a folder"):
            make_strategy("cdpruner", {"text_tower": wrong})
