"""Texts of a task as users give them to `gpt_tf.predict`: lines, TSV or JSONL.

  lines   one text a line, of a task of one text
  tsv     the texts of the form with tabs between, in the order of `forms.FIELDS`; the answers
          of a multiple choice are its last columns, and its question may be empty; no header
  jsonl   {"premise": "...", "hypothesis": "..."}: the names of `forms.FIELDS`; "answers" is a
          list, and "question" may be left out; other names do not count

Spaces around a text do not count, nor do blank lines at the end; one in between is an error, or
no texts.
"""

from collections.abc import Iterable, Iterator

from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import parse_json
from gpt_tf.common.text_files import number_lines
from gpt_tf.tasks.forms import FIELDS, MULTIPLE_CHOICE
from gpt_tf.tasks.task import Task

LINES = "lines"
TSV = "tsv"
JSONL = "jsonl"
FORMATS = (LINES, TSV, JSONL)


def read_texts(task: Task, stream: Iterable[bytes], kind: str, where: str,
               blank_lines: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Each line's number, from 1, and its texts, as the lines come.

    Args:
      task: whose texts they are.
      stream: lines, with their ends.
      kind: one of `FORMATS`.
      where: names the stream in errors.
      blank_lines: whether a blank line may stand between others.

    Yields:
      The texts in the form's order; of multiple choice the context, the question (or "") and each
      answer; of a blank line none.

    Raises:
      UserError: a line is not UTF-8 or not of that kind, or a text is missing or empty.
    """
    if kind == LINES and len(FIELDS[task.form]) > 1:
        raise UserError(f"A line of text is not enough for the task {task.name}, which needs "
                        f"{', '.join(FIELDS[task.form])}: give --format={TSV} or --format={JSONL}.")
    for number, line in number_lines(stream):
        try:
            if not line and blank_lines:
                yield number, []
                continue
            if not line:
                raise ValueError("the line is blank (see --on_blank_line)")
            yield number, _texts(task, line.decode("utf-8").rstrip("\r\n"), kind)
        except ValueError as error:  # UnicodeError and JSONDecodeError are ValueErrors, too
            raise UserError(f"{where}, line {number}: {error}; correct or remove it.") from error


def _texts(task: Task, line: str, kind: str) -> list[str]:
    """Raises ValueError, with what is wrong."""
    texts = _from_json(task, line) if kind == JSONL else (
        line.split("\t") if kind == TSV else [line])
    texts = [text.strip() for text in texts]
    fields, is_choice = FIELDS[task.form], task.form == MULTIPLE_CHOICE
    expected = len(fields) - 1 + task.num_sequences if is_choice else len(fields)
    if len(texts) != expected:
        raise ValueError(f"{len(texts)} texts where {task.name} needs {expected}: "
                         f"{', '.join(fields)}")
    for number, text in enumerate(texts):
        text.encode("utf-8")  # JSON may hold half of a surrogate pair
        if not text and not (is_choice and number == 1):
            raise ValueError(f"the text of {fields[min(number, len(fields) - 1)]} is empty")
    return texts


def _from_json(task: Task, line: str) -> list[str]:
    value = parse_json(line)
    fields = FIELDS[task.form]
    if not isinstance(value, dict):
        raise ValueError(f"not a JSON object of {', '.join(fields)}")
    texts = []
    for field in fields:
        is_list = field == "answers"
        text = value.get(field, "" if field == "question" else None)
        parts = text if is_list and isinstance(text, list) else [None if is_list else text]
        if not all(isinstance(part, str) for part in parts):
            raise ValueError(f"{field!r} must be {'a list of texts' if is_list else 'a text'}")
        texts += parts
    return texts
