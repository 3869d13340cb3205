"""What records of imported results say, that others needn't: by what their questions are known."""

from collections.abc import Mapping
from typing import Any

IMPORTED = "imported"  # the part of a record, and of its tasks; and the word beside a row
CONTENT, DOC_ID, QUESTION_ID = "content", "doc_id", "question_id"
WORDS = {
    CONTENT: "question and picture",
    DOC_ID: "task and document id",
    QUESTION_ID: "task and the imported files' own question id",
}


def is_imported(record: Mapping[str, Any]) -> bool:
    """Tell whether a record is of results that another program made."""
    return isinstance(record.get(IMPORTED), dict)
