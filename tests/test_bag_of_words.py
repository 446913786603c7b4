"""The bag of words: what it counts, what it can learn, and what it cannot."""

import numpy as np
import pytest

from gpt_tf.common.errors import UserError
from gpt_tf.evaluation import bag_of_words
from gpt_tf.evaluation.bag_of_words import BagOfWords
from gpt_tf.tasks.task import Task

SIZE = 50  # of the vocabulary
START, DELIMITER, EXTRACT = 50, 51, 52
ONE = Task("feeling", "classification", 1, ("sad", "glad"), (), ("accuracy",))
PAIR = Task("follows", "entailment", 1, ("yes", "no", "maybe"), (), ("accuracy",))
ALIKE = Task("alike", "similarity", 2, (), (0, 5), ("pearson",))
CHOICE = Task("ending", "multiple_choice", 3, ("1", "2", "3"), (), ("accuracy",))


def sequence(*texts):
    ids = [START]
    for text in texts:
        ids += [*text, DELIMITER]
    return np.array([*ids[:-1], EXTRACT], np.int32)


def counted(row, with_first=True):
    """Feature -> how often: (side, token, next), with 0 for no token."""
    numbers, counts = np.unique(bag_of_words._features(row, SIZE, with_first), return_counts=True)
    base = SIZE + 1
    return {(int(number) // base**2, int(number) // base % base - 1, int(number) % base - 1):
            int(count) for number, count in zip(numbers, counts)}


def test_what_is_counted():
    assert counted(sequence([7, 8, 7, 8])) == {
        (0, 7, -1): 2, (0, 8, -1): 2, (0, 7, 8): 2, (0, 8, 7): 1}
    first = {(0, 7, -1): 1, (0, 8, -1): 1, (0, 7, 8): 1}
    rest = {(1, 8, -1): 2, (1, 9, -1): 1, (1, 9, 8): 1, (1, 8, 8): 1, (2, 8, -1): 1, (2, -1, -1): 1}
    assert counted(sequence([7, 8], [9, 8, 8])) == first | rest
    assert counted(sequence([7, 8], [9, 8, 8]), with_first=False) == rest


def random_texts(rng, count):
    return [rng.integers(1, 20, rng.integers(3, 9)).tolist() for _ in range(count)]


def split_accuracy(task, records, labels):
    """Fitted on the first two thirds; predictions and labels of the rest."""
    end = 2 * len(records) // 3
    model = BagOfWords.fit(task, SIZE, records[:end], labels[:end])
    return model.predict(records[end:]), labels[end:]


def test_a_word_decides():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    records = [[sequence([*text, 30 + label])]
               for text, label in zip(random_texts(rng, 300), labels)]
    found, truth = split_accuracy(ONE, records, labels)
    np.testing.assert_array_equal(found, truth)


def test_the_side_decides():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    words = {0: ([30], [31]), 1: ([31], [30]), 2: ([30, 31], [32])}
    records = [[sequence(*words[label])] for label in labels]
    found, truth = split_accuracy(PAIR, records, labels)
    np.testing.assert_array_equal(found, truth)


def test_order_of_neighbours_decides():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    records = [[sequence([5, *((30, 31) if label else (31, 30)), 5])] for label in labels]
    found, truth = split_accuracy(ONE, records, labels)
    np.testing.assert_array_equal(found, truth)


def test_shared_words_tell_alike_texts():
    rng = np.random.default_rng(0)
    records, labels = [], []
    for _ in range(600):
        shared = int(rng.integers(0, 6))
        tokens = rng.permutation(49)[:10]
        first, second = tokens[:5], np.concatenate([tokens[:shared], tokens[5:10 - shared]])
        records.append([sequence(first, second), sequence(second, first)])
        labels.append(float(shared))
    found, truth = split_accuracy(ALIKE, records, np.array(labels, np.float32))
    assert np.corrcoef(found, truth)[0, 1] > 0.8
    assert found.min() >= 0 and found.max() <= 5


def test_the_best_answer_wins():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    records = []
    for label, context in zip(labels, random_texts(rng, 300)):
        answers = random_texts(rng, 3)
        answers[label].append(30)
        answers[(label + 1) % 3].append(31)
        records.append([sequence(context, answer) for answer in answers])
    found, truth = split_accuracy(CHOICE, records, labels)
    np.testing.assert_array_equal(found, truth)


def test_what_needs_both_texts_at_once_cannot_be_learnt():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 2, (2, 600))
    records = [[sequence([30 + a], [40 + b])] for a, b in zip(first, second)]
    found, truth = split_accuracy(ONE, records, first ^ second)
    assert np.mean(found == truth) < 0.62


def test_the_same_twice():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 100)
    records = [[sequence(text)] for text in random_texts(rng, 100)]
    one, two = (BagOfWords.fit(ONE, SIZE, records, labels) for _ in range(2))
    np.testing.assert_array_equal(one._model.coef_, two._model.coef_)


def test_one_class_only():
    with pytest.raises(UserError, match="one class"):
        BagOfWords.fit(ONE, SIZE, [[sequence([1])]] * 3, np.ones(3, int))
