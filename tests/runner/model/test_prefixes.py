"""Questions of one image share what comes before them in the prompt; the answers are those without it."""

import pytest
import torch
from asking_model import make, requests, texts

from pdrop_eval.engine.prefix.cache import GIB
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.prefix_setting import setting_of

pytestmark = pytest.mark.usefixtures("lmms_eval")

# Three questions on the first image, two on a pair; the others are alone, or have no image.
ASKED = [
    ("What?", [1]), ("Why is this so, and since when?", [1]), ("Are these alike?", [1, 2]),
    ("Where is it?", [2]), ("Say something.", []), ("Who?", [1]), ("Which is the larger one?", [1, 2]),
]  # fmt: skip


def batches_of(model):
    """A list that grows by the places of the questions of each batch."""
    found, answer = [], model._answer
    model._answer = lambda batch: found.append([q.request.args[3] for q in batch]) or answer(batch)
    return found


@pytest.mark.thin(3)
@pytest.mark.parametrize("family", ["llava", "llava_next"])
@pytest.mark.parametrize("strategy", ["pdrop", "vanilla", "visionzip", "fastv"])
def test_answers_and_what_is_retained_are_those_without_it(strategy, family, request):
    settings = {"visionzip": {"dominant": 4, "contextual": 2}}.get(strategy, {})
    found = {}
    for choice in ("off", "auto", "on"):
        model = make(
            request.getfixturevalue(family), strategy=strategy, batch_size=3, prefix_cache=choice, **settings
        )
        answers = texts(model.generate_until(requests(model, ASKED, sizes={2: (40, 14)})))
        found[choice] = answers, {k: v.to_dict() for k, v in model.answers.measurements.items()}
        used = model.prefixes.cache.hits + model.prefixes.cache.misses
        # The first window has three questions, two of them on one image, which comes again in the second.
        assert (used, model.prefixes.cache.misses) == {"off": (0, 0), "auto": (2, 1), "on": (5, 3)}[choice]
    assert found["off"] == found["auto"] == found["on"]


def test_questions_of_one_image_are_answered_together(llava):
    """Those that share nothing come first, the longest before the others; then image by image."""
    model = make(llava, batch_size=7)
    model.batch_size = 3
    batches = batches_of(model)
    places = model.prefixes.plan([model.preparer(one) for one in requests(model, ASKED)], sampled=False)
    assert places == [3, 4, 0, 1, 5, 2, 6]
    waiting = [(0, model.preparer(requests(model, ASKED)[place])) for place in places]
    assert [model.prefixes.together(waiting[start:], 3) for start in (0, 2, 5)] == [2, 3, 2]
    model.generate_until(requests(model, ASKED[:2] + ASKED[3:6]))
    assert [sorted(batch) for batch in batches] == [[2], [0, 1], [3], [4]]


def test_an_image_of_an_earlier_window_is_known_again(llava, monkeypatch):
    monkeypatch.setattr("pdrop_eval.run.lmms.model._SMALLEST_WINDOW", 2)
    model = make(llava, batch_size=1, strategy="vanilla")
    asked = [(f"What is number {n}?", [2 if n == 3 else 1]) for n in range(5)]
    model.generate_until(requests(model, asked))
    # Windows of one and of two: the first question is alone, the next two share, the fourth is another's.
    assert (model.prefixes.cache.misses, model.prefixes.cache.hits) == (1, 2)
    length = len("USER: ") + 16 + len("\nWhat is number 4? ASSISTANT:")
    assert list(model.prefixes._lately.values()) == [model.prefixes._token_bytes * length]
    # Another task decides as if it were the first, which a run that resumes may have left out.
    model.generate_until(requests(model, [("What else?", [1])], task="other"))
    assert (model.prefixes.cache.misses, model.prefixes.cache.hits) == (1, 2)


def test_what_is_drawn_by_chance_shares_nothing(llava):
    model = make(llava, batch_size=3, prefix_cache="on")
    batches = batches_of(model)
    model.generate_until(requests(model, ASKED, do_sample=True, temperature=1.0))
    off = make(llava, batch_size=3, prefix_cache="off")
    expected = batches_of(off)
    off.generate_until(requests(off, ASKED, do_sample=True, temperature=1.0))
    assert batches == expected
    assert model.prefixes.cache.misses == 0


def test_full_memory_lets_go_of_prefixes(llava, monkeypatch):
    """A batch of a fixed size is tried again without any; of an automatic one, half with them."""
    asked = [ASKED[n] for n in (0, 1, 5)]
    for size, expected in ((3, [3, 3]), ("auto", [3, 1, 1, 1])):
        model = make(llava, batch_size=size)
        answers = texts(model.generate_until(requests(model, asked)))
        generate, tried = model._generate, []
        assert len(model.prefixes.cache) == 1

        def full(batch, generate=generate, tried=tried):
            tried.append(len(batch))
            if len(tried) == 1:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return generate(batch)

        monkeypatch.setattr(model, "_generate", full)
        assert texts(model.generate_until(requests(model, asked))) == answers
        assert tried == expected
        assert len(model.prefixes.cache) == (0 if size == 3 else 1)


def test_another_strategy_begins_with_nothing(llava):
    from pdrop_eval.strategies.random import Random
    from pdrop_eval.strategies.vanilla import Vanilla

    model = make(llava, strategy="vanilla", batch_size=4)
    model.generate_until(requests(model, ASKED))
    assert len(model.prefixes.cache) == 1
    model.use(Random(tokens=4))
    assert len(model.prefixes.cache) == 0
    answers = texts(model.generate_until(requests(model, ASKED)))
    assert len(model.prefixes.cache) == 0
    model = make(llava, strategy=Random(tokens=4), batch_size=4, prefix_cache="off")
    assert texts(model.generate_until(requests(model, ASKED))) == answers
    model = make(llava, strategy="vanilla", prefix_cache="on")
    with pytest.raises(
        UserError, match=r"prefix_cache=on is not possible: random doesn't promise .* Use prefix_cac"
    ):
        model.use(Random(tokens=4))
    model.use(Vanilla())


def test_a_memory_that_holds_no_usual_prefix(llava, capsys):
    """16 tokens of 4 layers; the text before them isn't counted."""
    small = {"strategy": "vanilla", "prefix_memory": 1e-6}
    with pytest.raises(UserError, match=r"takes 0.0 GiB under vanilla, and prefix_memory=1e-06 holds less"):
        make(llava, **small, prefix_cache="on")
    model = make(llava, **small)
    model.generate_until(requests(model, ASKED))
    assert model.prefixes.cache.misses == 0
    assert "Questions of one image share nothing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prefix_cache": "an"}, "Unknown prefix_cache: 'an'. Allowed: auto, on, off."),
        ({"prefix_memory": 0}, "prefix_memory=0 is not allowed: use a number of GiB above 0"),
        ({"prefix_memory": "much"}, "prefix_memory=much is not allowed"),
        ({"prefix_memory": 1e9}, r"prefix_memory=1000000000.0 is more than the [\d.]+ GiB of memory"),
    ],
)
def test_wrong_settings_are_refused_before_a_checkpoint_is_read(changes, words):
    with pytest.raises(UserError, match=words):
        make("no_such_checkpoint", **changes)


def test_what_yaml_makes_of_on_and_off():
    assert [setting_of(value) for value in (True, False, "True", "off")] == ["on", "off", "on", "off"]
    assert GIB == 2**30
