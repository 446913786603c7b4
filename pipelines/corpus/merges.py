"""Learning byte-pair merges, and with them a tokenizer, from word counts alone.

Sennrich, Haddow and Birch 2016, "Neural Machine Translation of Rare Words with Subword Units",
section 3.2: start from characters, merge the most frequent pair of neighbours, again and again.
"""

import collections
from collections.abc import Callable, Iterator, Mapping
import heapq
import itertools

from gpt_tf.common.errors import UserError
from gpt_tf.common.progress import Progress
from gpt_tf.tokenizer import ByteLevelTokenizer, WordTokenizer
from gpt_tf.tokenizer.byte_level import BYTE_OF_SYMBOL
from gpt_tf.tokenizer.word_level import END_OF_WORD, NEWLINE, UNKNOWN

Pair = tuple[str, str]


def spell(word: str) -> list[str]:
    """The symbols of a word that merges of GPT-1's kind begin with."""
    return [*word[:-1], word[-1] + END_OF_WORD]


def learn_merges(counts: Mapping[str, int], least: int = 1,
                 symbols: Callable[[str], list[str]] = spell) -> Iterator[Pair]:
    """Yields merges, the most frequent pair first, until none is left that occurs `least` times.

    With 1, every word is one token then.

    Of pairs equally frequent, the one that comes first as strings is merged first, so the order
    of `counts` changes nothing. `symbols` are those of a word.

    Example:
      `learn_merges({"abab": 3, "b": 5})` gives ("a", "b"), ("a", "b</w>"), ("ab", "ab</w>"): the
      word a b a b</w> has its three pairs 3 times each, and the word b</w> has none.
    """
    words = list(map(symbols, counts))
    weights = list(counts.values())
    pair_counts, places = _count_pairs(words, weights)
    # Counts that fell since they were pushed are put right when they come up.
    heap = [(-count, pair) for pair, count in pair_counts.items()]
    heapq.heapify(heap)
    while heap:
        count, pair = heapq.heappop(heap)
        now = pair_counts[pair]
        if -count != now:
            if now:
                heapq.heappush(heap, (-now, pair))
            continue
        if now < least:
            return
        yield pair
        changes: collections.Counter[Pair] = collections.Counter()
        for place in places.pop(pair):
            before, weight = words[place], weights[place]
            after = words[place] = _merge(before, pair)
            for old in itertools.pairwise(before):
                changes[old] -= weight
            for new in itertools.pairwise(after):
                changes[new] += weight
                places[new].add(place)
        for changed, change in changes.items():
            pair_counts[changed] += change
            if change > 0:
                heapq.heappush(heap, (-pair_counts[changed], changed))


def _count_pairs(words: list[list[str]], weights: list[int]
                 ) -> tuple[collections.Counter[Pair], dict[Pair, set[int]]]:
    """How often each pair stands in the words, and the numbers of the words that hold it."""
    counts: collections.Counter[Pair] = collections.Counter()
    places = collections.defaultdict(set)
    for place, (word, weight) in enumerate(zip(words, weights)):
        for pair in itertools.pairwise(word):
            counts[pair] += weight
            places[pair].add(place)
    return counts, places


def _merge(word: list[str], pair: Pair) -> list[str]:
    left, right = pair
    merged, rest = [], iter(range(len(word)))
    for place in rest:
        if word[place] == left and place + 1 < len(word) and word[place + 1] == right:
            merged.append(left + right)
            next(rest)
        else:
            merged.append(word[place])
    return merged


def make_vocabulary(counts: Mapping[str, int], merges: list[Pair]) -> dict[str, int]:
    """Token -> id in the published order.

    `<unk>`; every character, the most frequent first; the same as ends of words; what the merges
    make; the line break.
    """
    alphabet = _by_frequency(_characters(counts))
    tokens = [UNKNOWN, *alphabet, *(character + END_OF_WORD for character in alphabet),
              *map("".join, merges), NEWLINE]
    # Two merges may make one token: "ab" + "c" and "a" + "bc".
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}


def of_frequent_characters(counts: Mapping[str, int], coverage: float) -> dict[str, int]:
    """The words that are spelt with the most frequent characters alone.

    Args:
      counts: how often each word occurs.
      coverage: share of all characters of the text that those make up at the least. Of characters
        equally frequent, the one that comes first is taken first.

    Raises:
      UserError: no word is.

    Example: `of_frequent_characters({"aab": 4, "c": 1}, 0.9)` gives {"aab": 4}.
    """
    characters = _characters(counts)
    wanted, total, kept = coverage * characters.total(), 0, set()
    for character in _by_frequency(characters):
        if total >= wanted:
            break
        kept.add(character)
        total += characters[character]
    found = {word: count for word, count in counts.items() if kept.issuperset(word)}
    if counts and not found:
        raise UserError(f"--character_coverage={coverage} leaves {len(kept)} characters, which "
                        "make no word of the text: give more, such as 0.9999.")
    return found


def _characters(counts: Mapping[str, int]) -> collections.Counter[str]:
    """How often each character occurs in the words."""
    characters: collections.Counter[str] = collections.Counter()
    for word, count in counts.items():
        for character in word:
            characters[character] += count
    return characters


def _by_frequency(characters: Mapping[str, int]) -> list[str]:
    return sorted(characters, key=lambda character: (-characters[character], character))


def learn_words(counts: Mapping[str, int], num_merges: int | None,
                language: str) -> WordTokenizer:
    """Learns a tokenizer of GPT-1's kind from the counts of a language's words.

    Args:
      counts: how often each occurs.
      num_merges: how many at the most; None: as long as a pair occurs twice, as subword-nmt does
        (Sennrich et al. 2016). What occurs once shows nothing that is common to words.
      language: of the tokenizer.

    Raises:
      UserError: the words give no merge.
    """
    merges = _first_merges(counts, num_merges, spell)
    return WordTokenizer(make_vocabulary(counts, merges), merges, language)


def learn_byte_level(counts: Mapping[str, int], num_merges: int | None) -> ByteLevelTokenizer:
    """Learns a tokenizer of GPT-2's kind from the counts of what its rule splits text into.

    Its vocabulary is in the published order: the symbols of bytes, what the merges make.

    Args:
      counts: how often each occurs; of symbols, not of text.
      num_merges: see `learn_words`.

    Raises:
      UserError: they give no merge.
    """
    merges = _first_merges(counts, num_merges, list)
    tokens = dict.fromkeys([*BYTE_OF_SYMBOL, *map("".join, merges)])
    return ByteLevelTokenizer({token: index for index, token in enumerate(tokens)}, merges)


def _first_merges(counts: Mapping[str, int], num_merges: int | None,
                  symbols: Callable[[str], list[str]]) -> list[Pair]:
    merges = []
    with Progress(num_merges, "merge", "learning merges") as progress:
        for merge in learn_merges(counts, 2 if num_merges is None else 1, symbols):
            merges.append(merge)
            progress.update(1)
            if len(merges) == num_merges:
                break
    if not merges:
        raise UserError("The text is too small to learn from: no two characters stand side by side "
                        f"{'twice ' if num_merges is None else ''}in its words. Give more.")
    return merges
