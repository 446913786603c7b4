"""The heuristics of section 5 of the paper, "Zero-shot Behaviors": a task's texts -> sequences of
which a pre-trained model scores a part.

  acceptability   | text                                 K = 1    CoLA
  next word       text prompt | word_k                   K words  SST-2
  answer          passage question | answer_k            K        RACE, Story Cloze
  pronoun         sentence with candidate_k | its rest   K = 2    DPR, Winograd schemas

What stands behind the bar is scored, given all before it; of acceptability, all but the first
token, which nothing predicts. No special tokens: a pre-trained model has none.

The parts of a sequence are encoded apart, as a word ends at each joint: most joints are white
space, where the tokens are the same either way (a tokenizer that has tokens for white space says
where a joint's goes), and what follows a pronoun is no part of its word ("he's", "he."). So all
candidates have the same rest, token for token, whatever they end with.
"""

from collections.abc import Callable, Sequence
import re
from typing import NamedTuple

from gpt_tf.tasks.forms import Sequences

ACCEPTABILITY = "acceptability"
NEXT_WORD = "next_word"
ANSWER = "answer"
PRONOUN = "pronoun"
HEURISTICS = (ACCEPTABILITY, NEXT_WORD, ANSWER, PRONOUN)
Ids = Sequence[int]


class Prompt(NamedTuple):
    """The texts of one sequence: what is given, in parts, and what is scored."""

    context: tuple[str, ...]
    scored: str


def find_pronoun(sentence: str, pronoun: str) -> re.Match | None:
    """The first place where the pronoun is a word of its own, which is the one that is meant.

    Spelled the same if there is such a place; else in other letters, as at a sentence's start.

    Example: the "it" of "Its box was full, so it broke." is the sixth word.
    """
    pattern = rf"(?<!\w){re.escape(pronoun)}(?!\w)"
    return re.search(pattern, sentence) or re.search(pattern, sentence, re.IGNORECASE)


def prompts(heuristic: str, texts: Sequence[str], prompt: str = "",
            words: Sequence[str] = (),
            join: Callable[[Sequence[str]], Sequence[str]] = tuple) -> list[Prompt]:
    """The K sequences of a row, as texts.

    Args:
      heuristic: one of `HEURISTICS`.
      texts: of ACCEPTABILITY and NEXT_WORD the text; of ANSWER the passage, the question and each
        answer; of PRONOUN the sentence, the pronoun (which is in it) and each candidate.
      prompt, words: see `task.ZeroShotTask`.
      join: gives texts as they stand one after the other in one text.

    Example:
      prompts(NEXT_WORD, ["so fine"], "very", ["negative", "positive"]) == [
          (("so fine", "very"), "negative"), (("so fine", "very"), "positive")]
      prompts(ANSWER, ["A story.", "Who?", "He.", "I."]) == [
          (("A story.", "Who?"), "He."), (("A story.", "Who?"), "I.")]
      prompts(PRONOUN, ["Ann hit Bo as she fell.", "she", "Ann", "Bo"]) == [
          (("Ann hit Bo as Ann",), " fell."), (("Ann hit Bo as Bo",), " fell.")]
    """
    if heuristic == PRONOUN:
        sentence, pronoun, *candidates = texts
        start, end = find_pronoun(sentence, pronoun).span()
        return [Prompt((sentence[:start] + candidate,), sentence[end:])
                for candidate in candidates]
    if heuristic == ANSWER:
        return [_last_scored(join([*texts[:2], answer])) for answer in texts[2:]]
    if heuristic == NEXT_WORD:
        return [_last_scored(join([texts[0], prompt, word])) for word in words]
    return [Prompt((), texts[0])]


def _last_scored(texts: Sequence[str]) -> Prompt:
    return Prompt(tuple(texts[:-1]), texts[-1])


def scored_sequences(pairs: Sequence[tuple[Ids, Ids]], max_length: int) -> Sequences:
    """Joins context and scored tokens of the K sequences of a row.

    Contexts give way from their front, all to the length that the longest scored part leaves;
    scored tokens never do. Without a context the first token takes its place.

    Example:
      scored_sequences([([1, 2, 3], [4]), ([1, 2, 3], [5, 6])], max_length=4) == Sequences(
          [[2, 3, 4], [2, 3, 5, 6]], shortened=True, starts=[2, 2])
      scored_sequences([([], [4, 5])], max_length=4).starts == [1]

    Raises:
      ValueError: a sequence has no token to score, or more than `max_length` leaves room for.
    """
    pairs = [(context or scored[:1], scored if context else scored[1:])
             for context, scored in pairs]
    longest = max(len(scored) for _, scored in pairs)
    room = max_length - longest
    if not all(scored for _, scored in pairs):
        raise ValueError("there is nothing to score")
    if room < 1:
        raise ValueError(f"{longest} tokens are to be scored, and one before them is expected")
    kept = [context[-room:] for context, _ in pairs]
    return Sequences([[*context, *scored] for context, (_, scored) in zip(kept, pairs)],
                     any(len(context) > room for context, _ in pairs),
                     [len(context) for context in kept])
