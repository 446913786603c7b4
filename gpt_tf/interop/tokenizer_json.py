"""A tokenizer as transformers' `AutoTokenizer` reads one: `tokenizer.json` and its settings."""

import os
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, normalizers, pre_tokenizers, processors

from gpt_tf.common.files import atomic_write
from gpt_tf.common.small_files import write_json
from gpt_tf.config import ModelConfig
from gpt_tf.interop import word_patterns
from gpt_tf.interop.mapping import Tuned
from gpt_tf.interop.targets import TOKENIZER, TOKENIZER_CONFIG
from gpt_tf.interop.vocabularies import LANGUAGE
from gpt_tf.tokenizer import SPECIAL_TOKENS, ByteLevelTokenizer, Tokenizer, WordTokenizer
from gpt_tf.tokenizer.byte_level import splitter
from gpt_tf.tokenizer.word_level import END_OF_WORD, UNKNOWN

_START, _DELIMITER, _EXTRACT = SPECIAL_TOKENS


def write(folder: str, tokenizer: Tokenizer, config: ModelConfig | None = None,
          tuned: Tuned | None = None) -> None:
    """Writes both files.

    With them ids are those of `tokenizer.encode`: of a byte-level tokenizer for every text, of one
    of words for what `word_patterns` can express. Of a fine-tuned model texts come out as
    sequences of its task, one text or two.

    Args:
      folder: to write into.
      tokenizer: what is written.
      config: of its model, if there is one.
      tuned: of a fine-tuned model.

    Raises:
      UserError: the disk is full or the place cannot be written.
    """
    settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast",
                                "clean_up_tokenization_spaces": False}
    if isinstance(tokenizer, WordTokenizer):
        backend = _of_words(tokenizer)
        settings |= {"unk_token": UNKNOWN}
        if tokenizer.language != "en":
            settings |= {LANGUAGE: tokenizer.language}
    else:
        backend = _of_bytes(tokenizer)
    if config:
        settings |= {"model_max_length": config.max_sequence_length}
        if config.num_special_tokens:
            backend.add_special_tokens([AddedToken(name, normalized=False)
                                        for name in SPECIAL_TOKENS])
            settings |= {"bos_token": _START, "sep_token": _DELIMITER, "cls_token": _EXTRACT}
    if tuned:
        # Behind the token that is read, padding decides nothing, whatever it is.
        settings |= {"model_max_length": tuned.max_length, "pad_token": _START}
        backend.post_processor = _sequences(tokenizer)
    with atomic_write(os.path.join(folder, TOKENIZER)) as stream:
        stream.write(backend.to_str().encode())
    write_json(os.path.join(folder, TOKENIZER_CONFIG), settings)


def _of_words(tokenizer: WordTokenizer) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(
        vocab={token: index for index, token in enumerate(tokenizer.tokens)},
        merges=list(tokenizer.merges), unk_token=UNKNOWN, end_of_word_suffix=END_OF_WORD))
    # The library cannot put anything before the first character of a text but by `Prepend`.
    backend.normalizer = normalizers.Sequence([
        normalizers.NFC(), normalizers.Strip(), normalizers.Prepend(" "),
        *(normalizers.Replace(Regex(pattern), text)
          for pattern, text in word_patterns.steps(tokenizer.word_rules)),
        normalizers.Lowercase()])
    ends = f"[ {''.join(word_patterns.MARKS)}]+"
    backend.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(ends), "removed"), pre_tokenizers.Split("\n", "isolated")])
    backend.decoder = decoders.BPEDecoder(END_OF_WORD)
    return backend


def _of_bytes(tokenizer: ByteLevelTokenizer) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(
        vocab={token: index for index, token in enumerate(tokenizer.tokens)},
        merges=list(tokenizer.merges)))
    backend.pre_tokenizer = splitter()
    backend.decoder = decoders.ByteLevel()
    return backend


def _sequences(tokenizer: Tokenizer) -> processors.TemplateProcessing:
    """One text or two as Figure 1 of the paper has them."""
    pair = f"{_START} $A {_DELIMITER} $B {_EXTRACT}"
    return processors.TemplateProcessing(
        single=f"{_START} $A {_EXTRACT}", pair=pair, special_tokens=list(zip(
            SPECIAL_TOKENS, (tokenizer.start_id, tokenizer.delimiter_id, tokenizer.extract_id))))
