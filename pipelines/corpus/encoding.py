"""Tokenizing in worker processes that never import TensorFlow."""

import dataclasses

import numpy as np

from gpt_tf.tokenizer.cleaning import Piece
from pipelines.building.encoders import load_tokenizer


@dataclasses.dataclass(frozen=True)
class ChunkOrigin:
    """Where some text goes, and how much of it there is.

    unit: the name of the unit of work that makes its shard.
    text_bytes: its UTF-8 bytes.
    source_bytes: bytes of the input that were read for it.
    """

    unit: str
    split: str
    text_bytes: int
    source_bytes: int


@dataclasses.dataclass(frozen=True)
class TextChunk:
    """Text for one worker: consecutive pieces of consecutive documents of one shard.

    ends: for each piece, whether its document ends with it.
    """

    origin: ChunkOrigin
    pieces: tuple[Piece, ...]
    ends: tuple[bool, ...]


@dataclasses.dataclass(frozen=True)
class EncodedText:
    """A chunk's tokens: an integer array [n], and int64 [D], where documents end in it."""

    origin: ChunkOrigin
    tokens: np.ndarray
    ends: np.ndarray

    @property
    def unit(self) -> str:
        """The name of the unit of work that makes its shard."""
        return self.origin.unit

    @property
    def size(self) -> int:
        """Bytes of the input that were read for it."""
        return self.origin.source_bytes


def encode_text(tokenizer_dir: str, chunk: TextChunk) -> EncodedText:
    """Encodes a chunk with the tokenizer of a folder."""
    tokenizer = load_tokenizer(tokenizer_dir)
    tokens = [tokenizer.encode_piece(piece) for piece in chunk.pieces]
    ends = np.cumsum([len(each) for each in tokens])[np.array(chunk.ends)]
    return EncodedText(chunk.origin, np.concatenate(tokens), ends)
