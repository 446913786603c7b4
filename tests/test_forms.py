"""Figure 1 of the paper: where the special tokens stand, and which text gives way."""

import ast
import inspect
import textwrap

from hypothesis import given
from hypothesis import strategies as st
import pytest

from gpt_tf.tasks import forms
from gpt_tf.tasks.forms import FORMS, SpecialTokens, build

SPECIAL = SpecialTokens(start=100, delimiter=101, extract=102)
FUNCTIONS = [getattr(forms, form) for form in FORMS]

texts = st.lists(st.integers(0, 99), max_size=12)
pairs = st.tuples(texts, texts)
choices = st.tuples(texts, texts, texts, texts, texts)
lengths = st.integers(4, 30)


def test_special_tokens_follow_the_vocabulary():
    assert SpecialTokens.after(40_478) == (40_478, 40_479, 40_480)


@pytest.mark.parametrize("function", FUNCTIONS, ids=FORMS)
def test_worked_examples(function):
    """Each line of an "Example:" in a docstring is true."""
    block = inspect.getdoc(function).partition("Example:\n")[2].partition("\n\n")[0]
    examples = ast.parse(textwrap.dedent(block)).body
    names = vars(forms) | {"special": SPECIAL}
    assert len(examples) >= 2
    for code in map(ast.unparse, examples):
        assert eval(code, names), code


@pytest.mark.parametrize("form, given_texts, max_length, wanted, shortened", [
    ("classification", [[1, 2]], 4, [[100, 1, 2, 102]], False),
    ("classification", [[1, 2]], 3, [[100, 1, 102]], True),
    ("entailment", [[1, 2], [3]], 6, [[100, 1, 2, 101, 3, 102]], False),
    ("entailment", [[1, 2], [3]], 5, [[100, 1, 101, 3, 102]], True),
    ("entailment", [[1, 2], [3, 4, 5]], 6, [[100, 101, 3, 4, 5, 102]], True),
    ("entailment", [[], [3, 4, 5]], 6, [[100, 101, 3, 4, 5, 102]], False),
    ("similarity", [[1, 2], [3, 4]], 7,
     [[100, 1, 2, 101, 3, 4, 102], [100, 3, 4, 101, 1, 2, 102]], False),
    # 3 tokens of room: the first has 2 of them, the second 1.
    ("similarity", [[1, 2], [3, 4]], 6,
     [[100, 1, 2, 101, 3, 102], [100, 3, 101, 1, 2, 102]], True),
    # 4 of room: the first needs 1 of its 2, the second has 3.
    ("similarity", [[1], [3, 4, 5, 6]], 7,
     [[100, 1, 101, 3, 4, 5, 102], [100, 3, 4, 5, 101, 1, 102]], True),
    ("multiple_choice", [[1, 2, 3], [], [4], [5, 6]], 8,
     [[100, 1, 2, 3, 101, 4, 102], [100, 1, 2, 3, 101, 5, 6, 102]], False),
    # The longest answer leaves 3: the question's 2, and 1 of the passage.
    ("multiple_choice", [[1, 2], [3, 4], [5], [6, 7], [8]], 8,
     [[100, 1, 3, 4, 101, 5, 102], [100, 1, 3, 4, 101, 6, 7, 102], [100, 1, 3, 4, 101, 8, 102]],
     True),
    # It leaves 1: of the question.
    ("multiple_choice", [[1, 2], [3, 4], [5], [6, 7]], 6,
     [[100, 3, 101, 5, 102], [100, 3, 101, 6, 7, 102]], True),
    ("multiple_choice", [[1], [2], [3, 4, 5], [6]], 5,
     [[100, 101, 3, 4, 102], [100, 101, 6, 102]], True),
    ("multiple_choice", [[], [], [3, 4, 5], [6]], 5,
     [[100, 101, 3, 4, 102], [100, 101, 6, 102]], True),
])
def test_by_hand(form, given_texts, max_length, wanted, shortened):
    found = build(form, given_texts, SPECIAL, max_length)
    assert (found.token_ids, found.shortened) == (wanted, shortened)


@pytest.mark.parametrize("form, given_texts, most", [
    ("classification", [[1]], 2), ("entailment", [[1], [2]], 3), ("similarity", [[1], [2]], 3),
    ("multiple_choice", [[1], [2], [3], [4]], 3)])
def test_no_room_is_refused(form, given_texts, most):
    with pytest.raises(ValueError, match=f"max_length={most} leaves no room"):
        build(form, given_texts, SPECIAL, most)
    assert build(form, given_texts, SPECIAL, most + 1).token_ids


def parts(sequence):
    """The texts between the special tokens, which stand once each, at their places."""
    assert sequence[0] == SPECIAL.start and sequence[-1] == SPECIAL.extract
    inside = sequence[1:-1]
    assert not {SPECIAL.start, SPECIAL.extract} & set(inside)
    assert inside.count(SPECIAL.delimiter) <= 1
    if SPECIAL.delimiter not in inside:
        return [inside]
    cut = inside.index(SPECIAL.delimiter)
    return [inside[:cut], inside[cut + 1:]]


def is_beginning(part, whole):
    return part == whole[:len(part)]


@given(texts, lengths)
def test_classification_fills_its_room(text, max_length):
    found = forms.classification(text, SPECIAL, max_length)
    kept, = parts(found.token_ids[0])
    assert kept == text[:max_length - 2]
    assert found.shortened == (kept != text)


@given(pairs, lengths)
def test_entailment_cuts_the_premise_first(pair, max_length):
    found = forms.entailment(*pair, SPECIAL, max_length)
    premise, hypothesis = parts(found.token_ids[0])
    assert is_beginning(premise, pair[0]) and is_beginning(hypothesis, pair[1])
    size = len(found.token_ids[0])
    assert size == min(max_length, len(pair[0]) + len(pair[1]) + 3)
    assert hypothesis == pair[1] or not premise
    assert found.shortened == ([premise, hypothesis] != list(pair))


@given(pairs, lengths)
def test_similarity_is_fair(pair, max_length):
    found = forms.similarity(*pair, SPECIAL, max_length)
    first, second = parts(found.token_ids[0])
    assert parts(found.token_ids[1]) == [second, first]
    assert is_beginning(first, pair[0]) and is_beginning(second, pair[1])
    room = max_length - 3
    assert len(first) + len(second) == min(room, len(pair[0]) + len(pair[1]))
    for part, whole, other in ((first, pair[0], second), (second, pair[1], first)):
        assert part == whole or len(part) >= room // 2
        assert part == whole or len(part) >= len(other) - 1
    assert found.shortened == ([first, second] != list(pair))


@given(choices, lengths)
def test_choices_see_the_same_context(given_texts, max_length):
    passage, question, *answers = given_texts
    found = build("multiple_choice", given_texts, SPECIAL, max_length)
    contexts, kept = zip(*map(parts, found.token_ids))
    context, = map(list, set(map(tuple, contexts)))
    room = max_length - 3
    assert max(map(len, found.token_ids)) == min(
        max_length, len(passage) + len(question) + max(map(len, answers)) + 3)
    for part, whole in zip(kept, answers):
        assert part == whole[:room]
        assert part == whole or not context
    if len(context) <= len(question):
        assert is_beginning(context, question) or context == passage + question
    else:
        assert context == passage[:len(context) - len(question)] + question
    assert found.shortened == (context != passage + question or list(kept) != answers)


@given(st.sampled_from(FORMS), choices, lengths)
def test_no_sequence_is_too_long(form, given_texts, max_length):
    fields = len(forms.FIELDS[form])
    mine = given_texts if form == "multiple_choice" else given_texts[:fields]
    wanted = {"similarity": 2, "multiple_choice": 3}.get(form, 1)
    found = build(form, mine, SPECIAL, max_length).token_ids
    assert len(found) == wanted
    assert all(len(sequence) <= max_length for sequence in found)


@pytest.mark.parametrize("form, texts, back", [
    (forms.CLASSIFICATION, [[1, 2, 3]], None), (forms.ENTAILMENT, [[1, 2], [3]], None),
    (forms.SIMILARITY, [[1], [2, 3]], None),
    (forms.MULTIPLE_CHOICE, [[1, 2], [3], [4], [5, 6]], [[1, 2, 3], [], [4], [5, 6]])])
def test_texts_of_sequences(form, texts, back):
    """A choice's question is behind its context."""
    special = forms.SpecialTokens(100, 101, 102)
    sequences = forms.build(form, texts, special, 16).token_ids
    assert forms.texts_of(form, sequences, special) == (back or texts)
