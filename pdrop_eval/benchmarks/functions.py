"""What the task YAMLs name with `!function`: rows of data sets, pictures and prompts where we differ."""

from typing import Any


def only_images(questions: Any) -> Any:
    """SEED-Bench without its questions about videos, whose frames lie in another file."""
    return questions.filter(lambda kind: kind == "image", input_columns="data_type")


def one_question_a_row(books: Any) -> Any:
    """OCR-VQA, which the Hub keeps with one cover and all of its questions a row, as one question a row.

    The covers stay encoded. Data that have the second form already stay as they are.
    """
    if "question" in books.column_names:
        return books
    from datasets import Features, Image, Value

    kept = ("question", "answer", "question_id", "image_id", "title", "genre")
    features = Features({"image": Image(), **{name: Value("string") for name in kept}})
    encoded = books.cast_column("image", Image(decode=False))
    return encoded.map(_questions, batched=True, remove_columns=books.column_names, features=features)


def _questions(batch: dict[str, list]) -> dict[str, list]:
    rows: dict[str, list] = {
        name: [] for name in ("image", "question", "answer", "question_id", "image_id", "title", "genre")
    }
    for index, image_id in enumerate(batch["image_id"]):
        asked = zip(batch["questions"][index], batch["answers"][index], strict=True)
        for number, (question, answer) in enumerate(asked):
            rows["image"].append(batch["image"][index])
            rows["question"].append(question)
            rows["answer"].append(answer)
            rows["question_id"].append(f"{image_id}_{number}")
            rows["image_id"].append(image_id)
            rows["title"].append(batch["title"][index])
            rows["genre"].append(batch["genre"][index])
    return rows


def picture(doc: dict[str, Any]) -> list[Any]:
    """The document's one picture."""
    return [doc["image"].convert("RGB")]


def wrapped_question(doc: dict[str, Any], lmms_eval_specific_kwargs: dict[str, str]) -> str:
    """The question between the task's `pre_prompt` and `post_prompt`."""
    wrap = lmms_eval_specific_kwargs
    return f"{wrap['pre_prompt']}{doc['question']}{wrap['post_prompt']}"


def for_the_judge(doc: dict[str, Any], results: list[str]) -> dict[str, dict[str, str]]:
    """MM-Vet's answer with all that its judge needs to know."""
    asked = {key: doc[key] for key in ("question_id", "question", "answer", "capability")}
    return {"gpt_eval_score": {**asked, "prediction": results[0]}}


def not_scored_here(items: list[Any]) -> None:
    """No number: only a judge can give one."""
