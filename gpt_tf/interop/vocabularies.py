"""The vocabulary in another program's folder: a tokenizer of ours, and tokens added behind it.

No TensorFlow here: commands read vocabularies before they import it.
"""

import os
from typing import Any, NamedTuple

from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import read_json
from gpt_tf.interop.targets import HUGGING_FACE, TOKENIZER, TOKENIZER_CONFIG
from gpt_tf.tokenizer import Tokenizer, files
from gpt_tf.tokenizer.files import is_tokenizer_file
from gpt_tf.tokenizer.word_level import END_OF_WORD

_ADDED = "added_tokens.json"  # of older releases
LANGUAGE = "language"  # in `TOKENIZER_CONFIG`, of a tokenizer of words that are not English

# How the three tokens of fine-tuning are called: here, and as in the released program.
_NAMES = tuple({f"<{name}>", f"_{name}_", *others} for name, *others in (
    ("start",), ("delimiter",), ("extract", "<classify>", "_classify_")))


class Vocabulary(NamedTuple):
    """What a folder says of token ids.

    tokenizer: of the ids 0 .. V-1.
    added: tokens with ids from V on, by name, in the order of their ids.
    """

    tokenizer: Tokenizer
    added: dict[str, int]

    @property
    def special_ids(self) -> list[int]:
        """Ids of the added tokens that are `SPECIAL_TOKENS`, in their order; [] if one is not."""
        found = [[index for name, index in self.added.items() if name in names]
                 for names in _NAMES]
        return [ids[0] for ids in found] if all(len(ids) == 1 for ids in found) else []


def load(layout: str, folder: str) -> Vocabulary:
    """Reads the vocabulary of a folder in another program's layout.

    Args:
      layout: one of `targets.FILES`. In Hugging Face's `tokenizer.json` will do where the files
        that `Tokenizer.load` reads are not.
      folder: the folder.

    Raises:
      UserError: there is none, or it is damaged or of neither kind.
    """
    if layout != HUGGING_FACE:
        return Vocabulary(Tokenizer.load(folder), {})
    described = _read_object(folder, TOKENIZER)
    settings = _read_object(folder, TOKENIZER_CONFIG)
    if described and not any(map(is_tokenizer_file, os.listdir(folder))):
        tokenizer = _of_model(described.get("model"), settings, os.path.join(folder, TOKENIZER))
    else:
        tokenizer = Tokenizer.load(folder)
    added = _added(described, settings, _read_object(folder, _ADDED), folder)
    behind = {name: index for name, index in added if index >= tokenizer.vocabulary_size}
    return Vocabulary(tokenizer, dict(sorted(behind.items(), key=lambda pair: pair[1])))


def _of_model(model: Any, settings: dict[str, Any], path: str) -> Tokenizer:
    """The tokenizer that `tokenizer.json` holds the tables of."""
    model = model if isinstance(model, dict) else {}
    vocabulary, merges = model.get("vocab"), model.get("merges")
    if not isinstance(vocabulary, dict) or not isinstance(merges, list) or not all(
            type(index) is int for index in vocabulary.values()):
        raise UserError(f"{path} holds no byte-pair encoding, which GPT-1's and GPT-2's tokenizers "
                        "are: take the tokenizer from its source again.")
    # Newer releases write pairs, older ones a space between.
    pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else merge for merge in merges]
    if not all(isinstance(pair, (tuple, list)) and len(pair) == 2
               and all(isinstance(token, str) for token in pair) for pair in pairs):
        raise UserError(f"{path} holds a merge that is not two tokens: take the tokenizer from its "
                        "source again.")
    language = {LANGUAGE: settings[LANGUAGE]} if isinstance(settings.get(LANGUAGE), str) else {}
    try:
        tokenizer = Tokenizer.of(vocabulary, list(map(tuple, pairs)), **language)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    suffix = END_OF_WORD if tokenizer.kind == files.FIRST_KIND else ""
    if (model.get("end_of_word_suffix") or "") != suffix or model.get("byte_fallback"):
        raise UserError(f"{path} is a tokenizer of another kind than GPT-1's and GPT-2's, which "
                        "mark the ends of words so or not at all: name another.")
    return tokenizer


def _added(described: dict[str, Any], settings: dict[str, Any], listed: dict[str, Any],
           folder: str) -> list[tuple[str, int]]:
    """(token, id) of each added token in any of the files that tell of them."""
    try:
        pairs = [*listed.items(),
                 *((token["content"], int(index))
                   for index, token in settings.get("added_tokens_decoder", {}).items()),
                 *((token["content"], token["id"])
                   for token in described.get("added_tokens", []))]
        if all(isinstance(name, str) and type(index) is int for name, index in pairs):
            return pairs
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    raise UserError(f"The added tokens in {folder} are not texts with their ids, as {TOKENIZER}, "
                    f"{TOKENIZER_CONFIG} and {_ADDED} have them: take the files from their source "
                    "again.")


def _read_object(folder: str, name: str) -> dict[str, Any]:
    """A JSON object; {} where there is no such file."""
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return {}
    value = read_json(path, "the tokenizer")
    if not isinstance(value, dict):
        raise UserError(f"{path} is not a JSON object: take the folder from its source again.")
    return value

