"""The inputs of Figure 1 of the paper: a task's texts -> K sequences of token ids.

  classification   start text extract                                     K = 1
  entailment       start premise delimiter hypothesis extract             K = 1
  similarity       start first delimiter second extract, and swapped      K = 2
  multiple choice  start passage question delimiter answer_k extract      K answers

A text too long for `max_length` is shortened at its end; start, delimiter and extract never are.
Which of several texts gives way is each function's to say.

The examples below have the special tokens `SpecialTokens(start=100, delimiter=101, extract=102)`.
"""

from collections.abc import Sequence
import dataclasses
from typing import NamedTuple

CLASSIFICATION = "classification"
ENTAILMENT = "entailment"
SIMILARITY = "similarity"
MULTIPLE_CHOICE = "multiple_choice"

# Form -> its texts, in order; the last of multiple choice is several texts.
FIELDS = {CLASSIFICATION: ("text",), ENTAILMENT: ("premise", "hypothesis"),
          SIMILARITY: ("first", "second"),
          MULTIPLE_CHOICE: ("context", "question", "answers")}
FORMS = tuple(FIELDS)
Ids = Sequence[int]


def num_sequences(form: str, num_answers: int) -> int:
    """K of an example; `num_answers` is that of multiple choice, and no matter elsewhere."""
    return {SIMILARITY: 2, MULTIPLE_CHOICE: num_answers}.get(form, 1)


class SpecialTokens(NamedTuple):
    """The ids of the three tokens that fine-tuning adds."""

    start: int
    delimiter: int
    extract: int

    @classmethod
    def after(cls, vocabulary_size: int) -> "SpecialTokens":
        """The three ids that follow the vocabulary's."""
        return cls(vocabulary_size, vocabulary_size + 1, vocabulary_size + 2)


@dataclasses.dataclass(frozen=True)
class Sequences:
    """K sequences, and whether any text was shortened for them.

    starts: of those of `heuristics` only, the first scored token of each.
    """

    token_ids: list[list[int]]
    shortened: bool
    starts: Sequence[int] = ()


def classification(text: Ids, special: SpecialTokens, max_length: int) -> Sequences:
    """One sequence; a long text keeps its beginning.

    Example:
      classification([1, 2, 3], special, max_length=8).token_ids == [[100, 1, 2, 3, 102]]
      classification([1, 2, 3], special, max_length=4).token_ids == [[100, 1, 2, 102]]

    Raises:
      ValueError: `max_length` leaves no room for text.
    """
    kept = text[:_room(max_length, num_special=2)]
    return Sequences([[special.start, *kept, special.extract]], len(kept) < len(text))


def entailment(premise: Ids, hypothesis: Ids, special: SpecialTokens,
               max_length: int) -> Sequences:
    """One sequence; the premise gives way first, the hypothesis where it alone is too long.

    Example:
      entailment([1, 2, 3], [4, 5], special, 8).token_ids == [[100, 1, 2, 3, 101, 4, 5, 102]]
      entailment([1, 2, 3], [4, 5], special, 6).token_ids == [[100, 1, 101, 4, 5, 102]]
      entailment([1, 2, 3], [4, 5], special, 4).token_ids == [[100, 101, 4, 102]]

    Raises:
      ValueError: `max_length` leaves no room for text.
    """
    room = _room(max_length, num_special=3)
    second = hypothesis[:room]
    first = premise[:room - len(second)]
    return Sequences([_pair(first, second, special)],
                     len(first) + len(second) < len(premise) + len(hypothesis))


def similarity(first: Ids, second: Ids, special: SpecialTokens, max_length: int) -> Sequences:
    """Two sequences, one of each order.

    Each text has half of the room, the first the odd token, and what one does not need is the
    other's. Both orders hold the same text.

    Example:
      similarity([1, 2, 3], [4], special, 7).token_ids == [
          [100, 1, 2, 3, 101, 4, 102], [100, 4, 101, 1, 2, 3, 102]]
      similarity([1, 2, 3], [4, 5, 6, 7], special, 8).token_ids == [
          [100, 1, 2, 3, 101, 4, 5, 102], [100, 4, 5, 101, 1, 2, 3, 102]]
      similarity([1, 2, 3], [4], special, 6).token_ids == [
          [100, 1, 2, 101, 4, 102], [100, 4, 101, 1, 2, 102]]

    Raises:
      ValueError: `max_length` leaves no room for text.
    """
    room = _room(max_length, num_special=3)
    kept_second = second[:max(room // 2, room - len(first))]
    kept_first = first[:room - len(kept_second)]
    return Sequences([_pair(kept_first, kept_second, special),
                      _pair(kept_second, kept_first, special)],
                     len(kept_first) + len(kept_second) < len(first) + len(second))


def multiple_choice(passage: Ids, question: Ids, answers: Sequence[Ids], special: SpecialTokens,
                    max_length: int) -> Sequences:
    """One sequence for each answer, all after the same context.

    The passage gives way first, then the question, as far as the longest answer needs; an answer
    is shortened where it alone is too long. The question may be empty.

    Example:
      multiple_choice([1, 2, 3], [4], [[5], [6, 7]], special, 9).token_ids == [
          [100, 1, 2, 3, 4, 101, 5, 102], [100, 1, 2, 3, 4, 101, 6, 7, 102]]
      multiple_choice([1, 2, 3], [4], [[5], [6, 7]], special, 7).token_ids == [
          [100, 1, 4, 101, 5, 102], [100, 1, 4, 101, 6, 7, 102]]
      multiple_choice([1, 2, 3], [4], [[5], [6, 7]], special, 5).token_ids == [
          [100, 101, 5, 102], [100, 101, 6, 7, 102]]

    Raises:
      ValueError: `max_length` leaves no room for text, or there is no answer.
    """
    room = _room(max_length, num_special=3)
    longest = max(map(len, answers))
    kept_question = question[:max(0, room - longest)]
    kept_passage = passage[:max(0, room - longest - len(kept_question))]
    context = [*kept_passage, *kept_question]
    return Sequences([_pair(context, answer[:room], special) for answer in answers],
                     len(context) < len(passage) + len(question) or longest > room)


def build(form: str, texts: Sequence[Ids], special: SpecialTokens, max_length: int) -> Sequences:
    """The sequences of one example of a form.

    Args:
      form: one of `FORMS`.
      texts: ids of its texts in the order of `FIELDS`; of multiple choice the passage, the
        question and then each answer.
      special: the special tokens.
      max_length: the most tokens of a sequence.

    Raises:
      ValueError: `max_length` leaves no room for text.
    """
    if form == MULTIPLE_CHOICE:
        return multiple_choice(texts[0], texts[1], texts[2:], special, max_length)
    function = {CLASSIFICATION: classification, ENTAILMENT: entailment, SIMILARITY: similarity}
    return function[form](*texts, special, max_length)


def texts_of(form: str, sequences: Sequence[Ids], special: SpecialTokens) -> list[Ids]:
    """The texts that `build` made sequences of, as far as they stand there, in the form's order.

    The question of a choice stands in its context and comes back empty.

    Example:
      texts_of(ENTAILMENT, [[100, 1, 2, 3, 101, 4, 5, 102]], special) == [[1, 2, 3], [4, 5]]
    """
    if form == CLASSIFICATION:
        return [sequences[0][1:-1]]
    cuts = [list(ids).index(special.delimiter) for ids in sequences]
    seconds = [ids[cut + 1:-1] for ids, cut in zip(sequences, cuts)]
    first = sequences[0][1:cuts[0]]
    return [first, [], *seconds] if form == MULTIPLE_CHOICE else [first, seconds[0]]


def _room(max_length: int, num_special: int) -> int:
    if max_length <= num_special:
        raise ValueError(f"max_length={max_length} leaves no room for text beside {num_special} "
                         "special tokens.")
    return max_length - num_special


def _pair(first: Ids, second: Ids, special: SpecialTokens) -> list[int]:
    return [special.start, *first, special.delimiter, *second, special.extract]
