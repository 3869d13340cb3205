"""The miniature is trained on the very prompts with which lmms-eval evaluates it."""

import warnings

import pytest

from pdrop_eval.benchmarks import task_files
from pdrop_eval.benchmarks.rendered import suite
from pdrop_eval.models.prompts import build_prompt
from tools.mini.training import packing, vocabulary
from tools.mini.training.model import build_processor

pytestmark = pytest.mark.slow  # the whole suite is rendered


@pytest.fixture(scope="module")
def tokenizer():
    return vocabulary.build_tokenizer()


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """lmms-eval's own task objects on the rendered suite."""
    folder, work = suite.ensure_suite(), tmp_path_factory.mktemp("tasks")
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other libraries, while lmms-eval is imported
        from lmms_eval.tasks import TaskManager

        for name in suite.TASKS:
            info = task_files.describe(name, "rendered")
            chain = task_files.materialise(info, "rendered", work / name, folder, None, False)
            manager = TaskManager(include_path=str(chain), include_defaults=False)
            found[name] = manager.load_task_or_group([name])[name]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", suite.TASKS)
def test_lmms_eval_asks_what_training_asked(loaded, name):
    docs = loaded[name].eval_docs
    rendered = suite.render(name)
    assert len(docs) == len(rendered)
    for doc, (_, question, _) in zip(docs, rendered, strict=True):
        assert loaded[name].doc_to_text(doc).split() == question.prompt.split()


@pytest.mark.parametrize("name", suite.TASKS)
def test_every_prompt_and_answer_is_in_the_vocabulary(tokenizer, name):
    for _, question, _ in suite.render(name):
        text = f"{question.prompt} ASSISTANT: {question.answer}"
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert ids == vocabulary.encode(text)
        assert vocabulary.UNKNOWN not in ids
        answer = tokenizer(question.answer, add_special_tokens=False).input_ids
        assert tokenizer.decode(answer) == question.answer


def test_training_knows_every_word_that_it_asks():
    for text in vocabulary.sample_prompts(seed=1, pictures=100):
        assert vocabulary.UNKNOWN not in vocabulary.encode(text), text


def test_words_are_apart_and_characters_together(tokenizer):
    for text in ("4B7", "left side", "42", "红色", "A", "yes"):
        assert tokenizer.decode(vocabulary.encode(text)) == text


def test_the_runner_builds_the_sequence_of_training():
    picture, question, _ = suite.render("docvqa_val", 1)[0]
    processor = build_processor()
    text = build_prompt("checkpoint", processor, question.prompt, images=1)
    ids = processor(images=picture.image, text=text, return_tensors="pt")["input_ids"][0].tolist()
    assert ids == [*packing.PREFIX, *vocabulary.prompt_ids(question.prompt)]
