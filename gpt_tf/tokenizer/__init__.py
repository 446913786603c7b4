"""Text <-> token ids, as the released program has it."""

from gpt_tf.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer

__all__ = ["SPECIAL_TOKENS", "Tokenizer"]
