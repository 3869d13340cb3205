"""Rendered training data: the same for any number of processes, and in the words of the vocabulary."""

import json

from pdrop_eval.mini import conversations, vocabulary


def test_every_word_of_a_conversation_is_in_the_vocabulary(tmp_path):
    out = conversations.render_conversations(tmp_path / "data", pictures=100, captions=30)
    for name in ("instruct.json", "captions.json"):
        for entry in json.loads((out / name).read_text(encoding="utf-8")):
            for turn in entry["conversations"]:
                assert vocabulary.UNKNOWN not in vocabulary.encode(turn["value"]), turn
