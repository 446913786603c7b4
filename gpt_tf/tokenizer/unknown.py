"""How much of a text a vocabulary lacks."""

from collections.abc import Iterable
import sys

import numpy as np


class UnknownCount:
    """Counts `<unk>`, one for each character that the vocabulary lacks, among tokens.

    Args:
      unknown_id: the id of `<unk>`; None: there is none, and nothing is ever said.
    """

    def __init__(self, unknown_id: int | None):
        self._unknown_id = unknown_id
        self._tokens = self._unknown = 0

    def add(self, token_ids: Iterable[int]) -> None:
        """Counts more tokens."""
        token_ids = np.asarray(token_ids)
        self._tokens += token_ids.size
        if self._unknown_id is not None:
            self._unknown += int(np.count_nonzero(token_ids == self._unknown_id))

    def tell(self) -> None:
        """Says on standard error how many there were, if any."""
        if self._unknown:
            print(f"{self._unknown:,} of {self._tokens:,} tokens "
                  f"({self._unknown / self._tokens:.2%}) are <unk>: characters that the "
                  "vocabulary lacks.", file=sys.stderr)
