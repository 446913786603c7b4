"""Text <-> token ids, as the program released with the paper has it or as GPT-2's does."""

from gpt_tf.tokenizer.byte_level import ByteLevelTokenizer
from gpt_tf.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer
from gpt_tf.tokenizer.word_level import WordTokenizer

__all__ = ["SPECIAL_TOKENS", "ByteLevelTokenizer", "Tokenizer", "WordTokenizer"]
