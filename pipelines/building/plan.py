"""What decides where a document or a row goes, whoever makes the shards."""

from collections.abc import Callable, Iterator
import hashlib
import itertools
from typing import Any

from gpt_tf.common.errors import UserError

TRAIN = "train"
VALIDATION = "validation"

# Less than a reader's block, so that the first block decides.
_HASHED_BYTES = 1 << 19
HASHES = 1 << 64


def content_hash(first_block: str) -> int:
    """A document's place in 0 .. 2**64 - 1, by its first half MiB."""
    data = first_block[:_HASHED_BYTES].encode("utf-8")[:_HASHED_BYTES]
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def both_sides(threshold: int, lowest: int, highest: int) -> int:
    """The threshold nearest to `threshold` with `lowest` below it and `highest` not."""
    return min(max(threshold, lowest + 1), highest)


def take_same(items: Iterator[Any], count: int, digest_of: Callable[[Any], bytes], expected: str,
              where: str = "") -> Iterator[Any]:
    """The next `count` items of a plan, whose digests together must be what was planned.

    Args:
      items: each is to be used before the next is taken.
      count: how many of them.
      digest_of: of an item that was used.
      expected: hexadecimal, of all digests.
      where: what the items are, for the error.

    Raises:
      UserError: they are not the ones that were seen when the work was planned.
    """
    seen = hashlib.blake2b(digest_size=16)
    for item in itertools.islice(items, count):
        yield item
        seen.update(digest_of(item))
    if seen.hexdigest() != expected:
        raise UserError(f"--input has changed since it was first read{where}, or is another one on "
                        "another machine; run the same command again.")
