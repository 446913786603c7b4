"""Names of what is published on a hub: `hf://owner/name` and `kaggle://owner/model/keras/variation`."""

import dataclasses
import re

from gpt_tf.common.errors import UserError

HUGGINGFACE, KAGGLE = "hf://", "kaggle://"

_NAME = r"\w[\w.-]*"
_PATTERNS = {HUGGINGFACE: rf"({_NAME}(?:/{_NAME})?)(?:@({_NAME}(?:/{_NAME})*))?",
             KAGGLE: rf"({_NAME}/{_NAME}/{_NAME}/{_NAME})(?:/(\d+))?"}
_FORMS = {HUGGINGFACE: "hf://owner/name, or hf://owner/name@revision",
          KAGGLE: "kaggle://owner/model/keras/variation, or with /version behind it"}


@dataclasses.dataclass(frozen=True)
class Handle:
    """What is published, taken apart.

    Attributes:
      text: the handle, as it was given.
      hub: `HUGGINGFACE` or `KAGGLE`.
      name: the repository, or the model down to its variation.
      revision: a branch, a tag or a commit of the repository, or the number of the model's version;
        None for the newest.
    """

    text: str
    hub: str
    name: str
    revision: str | None

    @classmethod
    def parse(cls, text: str) -> "Handle":
        """Takes a handle apart.

        Raises:
          UserError: it is none.
        """
        hub = next(hub for hub in _PATTERNS if text.startswith(hub))
        found = re.fullmatch(_PATTERNS[hub], text.removeprefix(hub), re.ASCII)
        if not found or ".." in text:
            raise UserError(f"{text!r} is no handle: it has the form {_FORMS[hub]}.")
        return cls(text, hub, *found.groups())


def is_handle(name: str) -> bool:
    """Whether `name` is of something on a hub, and not a path."""
    return str(name).startswith(tuple(_PATTERNS))
