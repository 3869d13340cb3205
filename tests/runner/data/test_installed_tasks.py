"""lmms-eval's tasks by name: found, expanded and refused from their files alone; nothing is imported."""

import subprocess
import sys
from pathlib import Path
from statistics import fmean

import pytest

from pdrop_eval.benchmarks.installed import index, kinds
from pdrop_eval.benchmarks.installed.choose import expanded
from pdrop_eval.benchmarks.installed.index import installed_names
from pdrop_eval.benchmarks.installed.items import NoNumberError, numbers_of, on_its_own
from pdrop_eval.benchmarks.installed.kinds import may_ask, missing_packages, why_refused
from pdrop_eval.benchmarks.installed.stand_ins.levenshtein import distance
from pdrop_eval.benchmarks.registry import registered
from pdrop_eval.benchmarks.task_files import describe, materialise, task_sha256
from pdrop_eval.run.config.checks import check_tasks
from pdrop_eval.utils.errors import UserError

NAMED = [one.task for one in registered().values() if not one.paper]


def test_the_named_tasks_run_and_groups_are_expanded():
    assert {task: why_refused(task) for task in NAMED} == dict.fromkeys(NAMED)
    assert expanded("ocrbench") == ["ocrbench"]
    assert expanded("mathvista_testmini") == [
        f"mathvista_testmini_{kind}" for kind in ("cot", "solution", "format")
    ]
    assert expanded("refcoco_bbox_rec") == [
        f"refcoco_bbox_rec_{split}" for split in ("test", "testA", "testB", "val")
    ]


@pytest.mark.parametrize(
    ("task", "why"),
    [
        ("videomme", "it shows video"),
        ("librispeech_test_clean", "it shows audio"),
        ("seedbench_ppl", "it compares the log-likelihoods of choices"),
        ("mmsearch_end2end", "it is a conversation of several rounds"),
        ("gsm8k", "it has no pictures: it is text alone"),
        ("gedit_bench", "its answers are pictures that the model draws"),
        ("olympiadbench_OE_MM_maths_en_COMP", "it asks the generation for repetition_penalty=1.2"),
        ("seephys", "its scoring reads LaTeX with sympy, which needs antlr4-python3-runtime 4.11"),
        ("vbvr", "its answers are videos"),
        ("docvqa_test", "it has no score: it writes a file of answers"),
        ("mmmu_val_pass64", "it asks each question 64 times"),
    ],
)
def test_a_task_of_another_kind_is_refused_by_name_with_the_reason(task, why):
    with pytest.raises(UserError, match=f"The task {task} can't be run: {why}"):
        check_tasks([task], ["gqa"], "mini", None)


def test_a_group_with_such_a_task_names_it_and_what_can_run():
    with pytest.raises(
        UserError, match=r"The group mathvista can't be run, because of mathvista_test: it has no"
    ) as e:
        expanded("mathvista")
    assert "tasks=[mathvista_testmini_cot,mathvista_testmini_solution,mathvista_testmini_format]" in str(
        e.value
    )


def test_a_typo_gets_the_nearest_names_of_lmms_eval_too():
    with pytest.raises(UserError, match=r"Unknown task of suite=mini: 'ocrbnch'.* lmms-eval has ocrbench"):
        check_tasks(["ocrbnch"], ["gqa"], "mini", None)


def test_the_suites_own_tasks_come_first_in_its_order():
    asked = check_tasks(["ai2d", "pope", "gqa", "ocrbench"], ["gqa", "pope"], "mini", None)
    assert asked == ["gqa", "pope", "ai2d", "ocrbench"]


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setattr(kinds, "find_spec", lambda name: None if name == "nltk" else object())
    kinds.missing_packages.cache_clear()
    lacking = next(task for task in ("vcr_wiki_en_easy", "ocrbench_v2", "coco_val") if missing_packages(task))
    with pytest.raises(
        UserError, match=r"can't be run: lmms-eval's task needs nltk\. Install it with: pip install nltk"
    ):
        check_tasks([lacking], ["gqa"], "mini", None)
    kinds.missing_packages.cache_clear()


def test_which_tasks_may_ask_a_language_model_is_read_from_their_functions():
    assert [task for task in NAMED if may_ask(task)] == [one for one in NAMED if one[:4] in ("hall", "math")]
    assert not may_ask("mmmu_val")  # its file has a judge, for other tasks


def test_names_are_read_once_and_read_again_for_another_version(monkeypatch, tmp_path):
    monkeypatch.setenv("PDROP_EVAL_CACHE", str(tmp_path))
    read = []
    whole = index._collect
    monkeypatch.setattr(
        index, "_collect", lambda folder: read.append(folder) or {"a": index.Name("task", "a.yaml")}
    )
    for expected in (1, 1):
        index._of_lmms_eval.cache_clear()
        assert list(installed_names()) == ["a"]
        assert len(read) == expected
    monkeypatch.setattr(index, "_version", lambda: "another")
    index._of_lmms_eval.cache_clear()
    assert (list(installed_names()), len(read)) == (["a"], 2)
    index._of_lmms_eval.cache_clear()
    assert callable(whole)


@pytest.mark.slow
def test_refusing_a_task_imports_neither_lmms_eval_nor_torch():
    code = (
        "import sys\n"
        "from pdrop_eval.run.config.checks import check_tasks\n"
        "try: check_tasks(['videomme'], ['gqa'], 'mini', None)\n"
        "except Exception as error: print(error)\n"
        "print(sorted({'torch', 'lmms_eval', 'transformers'} & set(sys.modules)))\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "[]"
    assert "it shows video" in said


def test_a_task_without_files_here_includes_lmms_evals_and_needs_no_login(tmp_path):
    info = describe("ocrbench", "hub")
    assert (info.installed, info.registered, info.dataset, info.split) == (
        True,
        True,
        "echo840/OCRBench",
        "test",
    )
    folder = materialise(info, "hub", tmp_path, None, "c" * 40, False)
    text = (folder / "ocrbench.yaml").read_text()
    assert "token" not in text
    assert '"revision": "' + "c" * 40 in text
    assert Path(text.split('include: "')[1].split('"')[0]).name == "ocrbench.yaml"


def test_a_task_without_an_entry_is_called_by_its_name():
    info = describe("realworldqa", "hub")
    assert (info.benchmark, info.name, info.registered, info.judge) == (
        "realworldqa",
        "realworldqa",
        False,
        False,
    )


def test_what_a_task_is_counts_its_functions_files(monkeypatch):
    from pdrop_eval.benchmarks import task_files

    before = task_sha256("ocrbench", "hub")
    assert before == task_sha256("ocrbench", "rendered")
    monkeypatch.setattr(task_files, "file_sha256", lambda path: "other")
    assert task_sha256("ocrbench", "hub") != before


def mean(items):
    return sum(items) / len(items)


def test_numbers_that_are_a_mean_have_scores_and_others_have_one_number():
    # 1, 0, 1, 1 of 4: 75
    assert (found := numbers_of([1, 0, 1, 1], mean)).scores == [1, 0, 1, 1]
    assert (found.rule, found.scale, found.value) == ("mean", "percent", 75)
    # the same as dicts, which the function reads, in percent
    dicts = numbers_of(
        [{"right": one} for one in (1, 0, 1, 1)], lambda items: 100 * mean([i["right"] for i in items])
    )
    assert (dicts.rule, dicts.scores, dicts.value) == ("mean", [1, 0, 1, 1], 75)
    # points out of 5: (5 + 2 + 2) / 3 = 3
    points = numbers_of([5, 2, 2], mean)
    assert (points.rule, points.scale, points.value) == ("own_mean", "own", 3)
    # the largest of all is no mean
    whole = numbers_of([0.1, 0.9, 0.4], max)
    assert (whole.rule, whole.scores, whole.value) == ("whole", None, 0.9)


def test_the_field_that_holds_what_a_question_earned_counts_and_not_what_is_divided_by():
    items = [{"score": one} for one in (1, 0, 1, 0)]
    found = numbers_of(items, lambda items: sum(one["score"] for one in items) / 1000, "score")
    assert (found.rule, found.value) == ("mean", 50)


def test_a_function_that_gives_nothing_for_no_right_answer_gives_0():
    assert numbers_of([{"ok": False}, {"ok": False}], lambda items: None, "ok").value == 0
    with pytest.raises(NoNumberError, match="no number"):
        numbers_of([{"a": "x"}], lambda items: None)


def test_no_number_of_answers_that_all_earned_0_is_no_mean_of_0():
    """A precision of nothing found: 0 / 0."""
    with pytest.raises(NoNumberError, match="gives no number: it gives nan"):
        numbers_of([0, 0], on_its_own(lambda items: float("nan")))


@pytest.mark.parametrize(("items", "function", "rule"), [
    ([0, 0, 0], fmean, "mean"),
    ([0, 0, 0], max, "whole"),
    ([1, 1], lambda items: 100 * fmean(items), "mean"),
    ([{"ok": False}] * 3, lambda items: fmean(one["ok"] for one in items), "mean"),
    ([{"ok": False}] * 3, lambda items: max(one["ok"] for one in items), "whole"),
    # of texts: an answer that is another text of its item is right
    ([("no", ["yes"])] * 3, lambda items: fmean(one[0] in one[1] for one in items), "mean"),
    ([("no", ["yes"])] * 3, lambda items: max(float(one[0] in one[1]) for one in items), "whole"),
    # a number that is near a mean because both are near 0
    ([{"x": 4e-8}, {"x": 8e-8}], lambda items: max(one["x"] for one in items), "whole"),
    ([{"x": 1}, {"x": 0}, {"x": 0}], lambda items: round(fmean(one["x"] for one in items), 2), "mean"),
], ids=range(9))  # fmt: skip
def test_where_all_earned_the_same_other_answers_tell_whether_a_number_is_a_mean(items, function, rule):
    assert numbers_of(items, function).rule == rule


TOTAL = {"sum": 0}


def adds_up(items, args):
    for item in items:
        TOTAL["sum"] += item.pop("score")
    written = Path(args.output_path) / "kept.txt"
    assert not written.exists()
    written.write_text("once")
    return TOTAL["sum"]


def test_one_call_of_an_lmms_eval_function_leaves_nothing_to_the_next():
    items, call = [{"score": 1}, {"score": 1}], on_its_own(adds_up)
    assert [call(items), call(items)] == [2, 2]
    assert (items, TOTAL) == ([{"score": 1}, {"score": 1}], {"sum": 0})


def test_captions_are_refused_where_there_is_no_java_to_score_them(monkeypatch):
    monkeypatch.setattr(kinds.shutil, "which", lambda _: None)
    assert "there is no java on the PATH" in why_refused.__wrapped__("textcaps_val")


def test_a_file_beside_a_tasks_own_is_no_package_to_install(monkeypatch):
    task = "visualwebbench_element_ocr"
    assert "its utils.py imports prompts, a file beside it" in why_refused(task)
    assert "prompts" not in missing_packages(task)
    monkeypatch.syspath_prepend(kinds.task_file(task).parent)
    assert "prompts" not in str(why_refused.__wrapped__(task))


def test_what_changes_no_answer_may_be_asked_of_the_generation():
    given = {"repetition_penalty": 1.0, "seed": 0, "image_aspect_ratio": "pad", "top_p": 0.9}
    assert kinds.asked_of_generation(given) == {"top_p": 0.9}


@pytest.mark.parametrize(
    ("one", "other", "far"), [("", "abc", 3), ("kitten", "sitting", 3), ("same", "same", 0)]
)
def test_the_distance_of_texts(one, other, far):
    assert distance(one, other) == distance(other, one) == far
