"""Frozen dataclasses from JSON, each value of the kind that its field declares."""

import dataclasses
import typing
from typing import Any, TypeVar

from gpt_tf.common.errors import UserError

Record = TypeVar("Record")


def _json_kinds(annotation: Any) -> tuple[type, type | None]:
    """JSON's kind of a field's value and of its parts: tuples are lists, dataclasses objects."""
    if annotation in (int, str, bool):
        return annotation, None
    if typing.get_origin(annotation) is tuple:
        part = typing.get_args(annotation)[0]
        return list, part if part in (int, str) else dict
    return (dict, None) if typing.get_origin(annotation) is dict else (object, None)


def from_json(cls: type[Record], value: Any, where: str, remedy: str) -> Record:
    """`cls` from JSON; only kinds of values are checked, nested dataclasses stay as they are.

    Args:
      cls: a frozen dataclass.
      value: what a file held.
      where: names the file and the place in it, for errors.
      remedy: what to do about a damaged one, for errors.

    Raises:
      UserError: a field is missing, not known or of another kind.
    """
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected a JSON object: {remedy}.")
    fields = dataclasses.fields(cls)
    if set(value) != {field.name for field in fields}:
        odd = sorted(set(value) ^ {field.name for field in fields})
        raise UserError(f"{where}: {', '.join(odd)} missing or not known: {remedy}.")
    for field in fields:
        kind, part = _json_kinds(field.type)
        got = value[field.name]
        if (kind is not object and type(got) is not kind or kind is int and not 0 <= got < 1 << 63
                or part and any(type(each) is not part for each in got)):
            raise UserError(f"{where}: {field.name} cannot be {got!r:.40}: {remedy}.")
    return cls(**{name: tuple(got) if isinstance(got, list) else got
                  for name, got in value.items()})
