"""lmms-eval's own scoring on the rendered suite: the gold reaches the maximum, a constant its chance."""

import re
import subprocess
import sys
from collections import Counter
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

import datasets
import pytest
import runner_tiny as tiny

from pdrop_eval.benchmarks import task_files
from pdrop_eval.benchmarks.functions import one_question_a_row, wrapped_question
from pdrop_eval.benchmarks.registry import by_task
from pdrop_eval.benchmarks.rendered import suite
from pdrop_eval.benchmarks.rendered.suite import ensure_suite
from pdrop_eval.benchmarks.task_files import SOURCES, describe, materialise, read_chain, task_names
from pdrop_eval.models import families
from pdrop_eval.models.prompts import asked_as
from pdrop_eval.run.lmms.tasks.offline_tasks import write_tasks
from pdrop_eval.run.lmms.tasks.task_runner import task_manager
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import TASKS

LIMIT = 60
RENDERED = suite.TASKS


@pytest.fixture(scope="module")
def rendered():
    return ensure_suite()  # where a run looks for it: rendered once for all tests


def evaluate_with(answer, task, rendered, tmp_path, limit=LIMIT):
    """The record's entry for a model that gives `answer(doc)`."""
    from lmms_eval.api.model import lmms

    from pdrop_eval.run.lmms.answer_log import AnswerLog
    from pdrop_eval.run.lmms.measurement import Measurement
    from pdrop_eval.run.lmms.tasks.task_runner import run_task
    from pdrop_eval.utils.code.hashing import content_hashes

    class Fake(lmms):
        batch_size = 1

        def writing_to(self, answers):
            self.measurements = answers.measurements
            return nullcontext()

        def generate_until(self, requests):
            said = []
            for request in requests:
                context, _, doc_to_visual, doc_id, name, split = request.args
                doc = self.task_dict[name][split][doc_id]
                hashes = content_hashes(context, doc_to_visual(doc))
                self.measurements[name, doc_id] = Measurement(*hashes, 20, 16, (16, 8), 1)
                said.append(answer(doc))
            return said

        def loglikelihood(self, requests):
            raise NotImplementedError

        def generate_until_multi_round(self, requests):
            raise NotImplementedError

        def clean(self):
            pass

    info = describe(task, "rendered")
    folder = materialise(info, "rendered", tmp_path, rendered, None, ocr=False)
    return run_task(Fake(), info, folder, AnswerLog(), limit=limit, seed=1, resamples=200, tflops=sum)[0]


def majority(answers):
    """What most annotators say; each of theirs is a text, or a dict with one."""
    texts = [answer["answer"] if isinstance(answer, dict) else answer for answer in answers]
    return Counter(texts).most_common(1)[0][0]


def gold(task):
    """The answer of a model that is always right."""
    if task == "scienceqa_img":
        return lambda doc: "ABCDE"[doc["answer"]]
    return lambda doc: majority(doc["answers"]) if "answers" in doc else doc["answer"]


def maximum(task, docs):
    return 200 * len({doc["category"] for doc in docs}) if task == "mme" else 100


SCORED = [task for task in task_names("rendered") if not describe(task, "rendered").judge]


@pytest.mark.thin(4)
@pytest.mark.parametrize("task", SCORED)
def test_the_gold_reaches_the_maximum_and_nonsense_nothing(task, data, tmp_path, lmms_eval):
    right = evaluate_with(gold(task), task, data, tmp_path / "right", limit=None)
    assert right["score"] == pytest.approx(maximum(task, tiny.rows(task, 6)))
    assert right["stderr"] == pytest.approx(0)
    assert right["n"] == 6
    assert evaluate_with(lambda doc: "zzz", task, data, tmp_path / "wrong", limit=None)["score"] == 0


@pytest.mark.thin(4)
@pytest.mark.parametrize("task", [task for task in RENDERED if task in SCORED])
def test_the_gold_of_the_rendered_suite_reaches_the_maximum(task, rendered, tmp_path, lmms_eval):
    entry = evaluate_with(gold(task), task, rendered, tmp_path)
    assert entry["score"] == pytest.approx(maximum(task, docs_of(task, rendered)))
    assert entry["stderr"] == pytest.approx(0)
    assert entry["n"] == LIMIT


def docs_of(task, rendered, limit=LIMIT):
    data = datasets.load_dataset("parquet", data_files=str(rendered / f"{task}.parquet"), split="train")
    return data.remove_columns("image").select(range(limit)).to_list()


@pytest.mark.parametrize("task", ["vqav2_val", "vizwiz_vqa_val", "textvqa_val"])
def test_an_answer_of_two_annotators_of_ten_earns_three_fifths(task, tmp_path, lmms_eval):
    # without one of the two, 1 of 9 others agrees: a third; without one of the eight, 2 do: two thirds
    said = ["blue"] * 2 + ["red"] * 8
    rows = tiny.rows(task, 2)
    for row in rows:
        row["answers"] = tiny.opinions(*said) if task == "vqav2_val" else said
    tiny.write(task, rows, tmp_path / "data")
    entry = evaluate_with(lambda doc: "Blue.", task, tmp_path / "data", tmp_path, limit=None)
    assert entry["score"] == pytest.approx(100 * (2 * 1 / 3 + 8 * 2 / 3) / 10)


def test_seedbench_asks_about_images_only(tmp_path, lmms_eval):
    rows = tiny.rows("seedbench", 6)
    for row in rows[::2]:
        row["data_type"] = "video"
    tiny.write("seedbench", rows, tmp_path / "data")
    entry = evaluate_with(lambda doc: doc["answer"], "seedbench", tmp_path / "data", tmp_path, limit=None)
    assert (entry["score"], entry["n"]) == (100, 3)


def test_ocrvqa_of_the_hub_becomes_one_question_a_row():
    books = datasets.Dataset.from_list(
        [
            {
                "image": tiny.encoded(i), "image_id": f"b{i}", "questions": ["Who?", "What?"][: i + 1],
                "answers": ["me", "it"][: i + 1], "title": f"T{i}", "genre": "g", "ocr_tokens": ["x"],
            }
            for i in range(2)
        ]
    ).cast_column("image", datasets.Image())  # fmt: skip
    rows = one_question_a_row(books)
    found = [(row["question_id"], row["question"], row["answer"], row["title"]) for row in rows]
    assert found == [
        ("b0_0", "Who?", "me", "T0"),
        ("b1_0", "Who?", "me", "T1"),
        ("b1_1", "What?", "it", "T1"),
    ]
    assert [row["image"].tobytes() for row in rows] == [tiny.picture(i).tobytes() for i in (0, 1, 1)]
    assert set(describe("ocrvqa", "hub").columns) <= set(rows.column_names)


@pytest.mark.thin(1)
@pytest.mark.parametrize("task", ["mme", "pope", "scienceqa_img", "mmbench_cn_dev"])
def test_a_constant_answer_reaches_its_chance(task, rendered, tmp_path, lmms_eval):
    said = "Yes" if task in ("mme", "pope") else "A"
    entry = evaluate_with(lambda doc: said, task, rendered, tmp_path)
    docs = docs_of(task, rendered)
    if task == "mme":  # one of each pair: accuracy 50, accuracy+ 0
        assert entry["score"] == pytest.approx(50 * len({doc["category"] for doc in docs}))
    elif task == "pope":  # half of the answers are yes: precision 1/2, recall 1
        assert entry["score"] == pytest.approx(100 * 2 / 3)
    else:
        letters = Counter(gold(task)(doc) for doc in docs)
        assert entry["score"] == pytest.approx(100 * letters["A"] / LIMIT)
        assert 0 < entry["score"] < 60


def test_the_chinese_task_asks_in_chinese_and_never_guesses(rendered, tmp_path, lmms_eval, monkeypatch):
    import lmms_eval.tasks.mmbench.mmbench_evals as evals

    monkeypatch.setattr(evals.MMBench_Evaluator, "get_chat_response", lambda *_: pytest.fail("asked an API"))
    monkeypatch.setattr(evals.rd, "randint", lambda *_: pytest.fail("guessed"))
    entry = evaluate_with(lambda doc: "?", "mmbench_cn_dev", rendered, tmp_path, limit=4)
    assert entry["score"] == 0


def test_ocr_tokens_come_with_the_option(rendered, tmp_path, lmms_eval):
    from lmms_eval.tasks import TaskManager

    prompts = {}
    for ocr in (False, True):
        folder = materialise(
            describe("textvqa_val", "rendered"), "rendered", tmp_path / str(ocr), rendered, None, ocr=ocr
        )
        task = TaskManager(include_path=str(folder), include_defaults=False).load_task_or_group("textvqa_val")
        doc = task["textvqa_val"].test_docs()[0]
        prompts[ocr] = task["textvqa_val"].doc_to_text(doc)
    assert "OCR" not in prompts[False]
    assert "Reference OCR token" in prompts[True]


@pytest.mark.parametrize("name", [None, "llava_hf", "qwen2_5_vl", "qwen3_vl", "internvl_hf"])
def test_a_task_gives_the_prompt_that_lmms_eval_has_for_the_models_name(name, rendered, tmp_path, lmms_eval):
    """MMStar has one for qwen3_vl, as `--model qwen3_vl` gets it; all others get the default."""
    folder = materialise(describe("mmstar", "rendered"), "rendered", tmp_path, rendered, None, ocr=False)
    (task,) = task_manager(folder, name).load_task_or_group("mmstar").values()
    prompt = task.doc_to_text({"question": "What is x?"})
    plain = "What is x?\nAnswer with the option's letter from the given choices directly"
    special = "Question: What is x?Answer with the option letter only."
    assert prompt == (special if name == "qwen3_vl" else plain)


def test_families_are_asked_as_their_own_chat_class_with_its_template_only():
    found = {family.name: asked_as(family, "lmms") for family in families.all_multimodal()}
    assert found == {
        "llava": "llava_hf", "llava_next": "llava_hf", "llava_onevision": "llava_hf", "smolvlm": None,
        "internvl": "internvl_hf", "qwen2_vl": "qwen2_vl", "qwen2_5_vl": "qwen2_5_vl", "qwen3_vl": "qwen3_vl",
    }  # fmt: skip
    assert {asked_as(family, "checkpoint") for family in families.all_multimodal()} == {None}


OWN = {"ocrvqa", "mmvet"}  # written out: lmms-eval has none, or none that loads without an API key


@pytest.mark.parametrize("task", [task for task in task_names("hub") if task not in OWN])
def test_the_hub_variant_differs_from_the_installed_task_in_its_data_only(task, tmp_path, lmms_eval):
    from lmms_eval.utils import load_yaml_config

    info = describe(task, "hub")
    folder = materialise(info, "hub", tmp_path, None, "c0ffee", ocr=False)
    ours = load_yaml_config(str(folder / f"{task}.yaml"))
    theirs = load_yaml_config(find_installed(task))
    assert ours["dataset_kwargs"] == {"revision": "c0ffee"}
    assert ours["dataset_path"] == theirs["dataset_path"] == info.dataset
    changed = {key for key in ours if text(ours[key]) != text(theirs.get(key))}
    allowed = {
        "gqa": {"process_docs"},
        "mmbench_en_dev": {"metric_list"},
        "mmbench_cn_dev": {"metric_list"},
        "seedbench": {"metric_list", "process_docs"},
        "textvqa_val": {"metric_list", "lmms_eval_specific_kwargs", "doc_to_target"},
        "vqav2_val": {"doc_to_target"},
        "vizwiz_vqa_val": {"doc_to_target"},
    }
    assert changed - {"dataset_kwargs"} <= allowed.get(task, set())


def test_mmvet_asks_as_the_installed_task_does():
    ours, theirs = read_chain(TASKS / "hub" / "mmvet.yaml"), read_chain(Path(find_installed("mmvet")))
    ours.pop("dataset_kwargs")
    same = {key for key in ours if text(ours[key]) == text(theirs[key])}
    assert {*ours} - same == {
        "doc_to_visual", "doc_to_text", "doc_to_target", "process_results", "metric_list",
    }  # fmt: skip
    doc = {"question": "What is x?"}
    before = theirs["lmms_eval_specific_kwargs"]["default"]["pre_prompt"]
    assert wrapped_question(doc, ours["lmms_eval_specific_kwargs"]["default"]) == f"{before}What is x?"


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("task", by_task())
def test_the_registry_names_the_split_and_the_metric_of_the_task(task, source):
    config = read_chain(TASKS / source / f"{task}.yaml")
    assert config["test_split"].strip() == by_task()[task].split
    assert by_task()[task].metric in [entry["metric"] for entry in config["metric_list"]]


def test_a_task_without_an_entry_in_the_registry_is_named(tmp_path, monkeypatch):
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "mmmu.yaml").write_text("task: mmmu")
    monkeypatch.setattr(task_files, "TASKS", tmp_path)
    with pytest.raises(UserError, match=r"mmmu .* no entry in pdrop_eval/benchmarks/benchmarks.yaml"):
        task_files.describe.__wrapped__("mmmu", "hub")


def text(value):
    """What a YAML value says; functions are imported anew each time, at other addresses."""
    return re.sub(" at 0x[0-9a-f]+", "", str(value))


def find_installed(task):
    [path] = Path(find_spec("lmms_eval").origin).parent.glob(f"tasks/*/{task}.yaml")
    return str(path)


def test_gqa_joins_questions_with_their_images(monkeypatch):
    from pdrop_eval.benchmarks.gqa import join_gqa_images

    images = datasets.Dataset.from_list([{"id": f"i{i}", "image": tiny.encoded(i)} for i in range(2)])
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *_, **__: images.cast_column("image", datasets.Image())
    )
    questions = datasets.Dataset.from_list([{"question": "?", "imageId": i} for i in ("i1", "i0", "i1")])
    joined = join_gqa_images(questions)
    pixels = [image.tobytes() for image in joined["image"]]
    assert pixels == [tiny.picture(i).tobytes() for i in (1, 0, 1)]


def test_gqas_downloaded_pictures_are_used_until_it_is_opened_without_them(tmp_path):
    from pdrop_eval.benchmarks import gqa

    files = (tmp_path / "questions.parquet",), "parquet", None, (tmp_path / "pictures.parquet",)
    info = describe("gqa", "hub")
    materialise(info, "hub", tmp_path / "local", None, None, ocr=False, local=task_files.Local(*files))
    assert gqa._local_images == [str(tmp_path / "pictures.parquet")]
    materialise(info, "hub", tmp_path / "far", None, None, ocr=False)
    assert gqa._local_images == []


@pytest.mark.whole
@pytest.mark.slow
def test_the_stock_command_runs_our_model(llava, tmp_path):
    tiny.suite(tmp_path / "data", n=4, tasks=("chartqa",))
    info = describe("chartqa", "rendered")
    folder = materialise(info, "rendered", tmp_path / "tasks", tmp_path / "data", None, ocr=False)
    yaml = folder / "chartqa.yaml"
    yaml.write_text(yaml.read_text().replace("include:", "task: tiny_chartqa\ninclude:"))
    done = subprocess.run(
        [
            sys.executable, "-m", "lmms_eval", "--model", "pdrop_llava", "--tasks", "tiny_chartqa",
            "--model_args", f"pretrained={llava},strategy=pdrop,ratio=0.5,device=cpu",
            "--include_path", str(folder), "--batch_size", "2", "--output_path", str(tmp_path / "out"),
        ],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "relaxed_overall" in done.stdout
    assert "4/4" in done.stderr


def test_lmms_eval_finds_the_offline_tasks_under_their_own_names(tmp_path, lmms_eval):
    from lmms_eval.tasks import TaskManager

    names = write_tasks(tmp_path)
    assert names == [f"{task}_rendered" for task in task_names("rendered")]
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    task = manager.load_task_or_group(["docvqa_val_rendered"])["docvqa_val_rendered"]
    assert len(task.eval_docs) == 240
