"""The grammar of the sample stories: a story is drawn, then told.

`draw_story` decides what happens and `render` finds the words: rendering one story twice tells it
in other words, and a story with one field replaced tells another outcome.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import random
import re

from pipelines.grammar.plots_of_deeds import DEEDS
from pipelines.grammar.plots_of_things import THINGS
from pipelines.grammar.words import (
    ELDERS,
    FEELINGS,
    FEMALE,
    FOODS,
    HABITS,
    HOMES,
    KINDS,
    MALE,
    PLACES,
    SAYINGS,
    SHARED,
    TRAITS,
    WEATHERS,
    Cause,
    Ending,
)

PLOTS = THINGS | DEEDS

# (plot, ending, its opposite): told in the same words, put together otherwise.
OPPOSED = (("lost", "found", "gone"), ("contest", "won", "lost"), ("broken", "mended", "ruined"),
           ("rescue", "hero", "friend"), ("errand", "home", "lost"), ("gift", "in_time", "late"),
           ("gift", "preferred", "outdone"))

# Role by role, what a story tells, by paragraphs.
_PARAGRAPHS = (
    ("opening", "habit", "saying", "tool", "friend"),
    ("day", "want", "cause", "reaction"),
    ("talk", "offer"),
    ("journey", "ask", "attempt"),
    ("think", "tooluse", "result", "feeling"),
    ("after", "thanks", "home", "moral"),
)

# What a telling may leave out, with the chance that it stays in. Roles in one row stand or fall
# together: what is brought in early is what the end comes back to.
_THREADS = ((("habit", "think"), 0.35), (("saying", "moral"), 0.25), (("tool", "tooluse"), 0.45),
            (("day", "home"), 0.45), (("reaction",), 0.45), (("talk",), 0.45), (("ask",), 0.35),
            (("attempt",), 0.35), (("thanks",), 0.15))
_PRONOUNS = {"female": ("she", "her", "her"), "male": ("he", "him", "his")}


@dataclasses.dataclass(frozen=True)
class Character:
    """Somebody with a name. gender: 'female' or 'male'; kind: 'girl', 'fox'; trait: 'brave'."""

    name: str
    gender: str
    kind: str
    trait: str


@dataclasses.dataclass(frozen=True)
class Story:
    """What happens in a story, without its words; every field is a key of the grammar's tables.

    plot names the kind of story; cause is the key of what goes wrong, ending of how it comes out.
    helper is the one who lends a hand: the friend's name or, as 'the miller', the place's keeper.
    """

    plot: str
    hero: Character
    friend: Character
    elder: str
    home: str
    habit: str
    saying: str
    weather: str
    food: str
    place: str
    look: str
    goal: str
    tool: str
    helper: str
    cause: str
    ending: str

    @property
    def characters(self) -> tuple[Character, Character]:
        """Hero and friend."""
        return self.hero, self.friend

    @property
    def _cause(self) -> Cause:
        return PLOTS[self.plot].causes[self.cause]

    @property
    def _ending(self) -> Ending:
        return PLOTS[self.plot].endings[self.ending]

    @property
    def problem(self) -> str:
        """What went wrong, in the hero's words: 'The wind has taken my kite'."""
        return self._cause.reason[0].format(goal=self.goal)

    @property
    def first_feeling(self) -> str:
        """What the hero feels about the problem; it follows from the cause."""
        return self._cause.feeling

    @property
    def feeling(self) -> str:
        """What the hero feels at the end; it follows from the ending."""
        return self._ending.feeling

    @property
    def winner(self) -> Character:
        """Who got or did the thing; the friend stands here where the hero fails."""
        return self.hero if self._ending.hero_wins else self.friend


def _choose(rng: random.Random, options: Sequence):
    # Python promises to keep the sequence of random(), not that of choice().
    return options[int(rng.random() * len(options))]


def _draw_character(rng: random.Random, taken: str) -> Character:
    gender = _choose(rng, ("female", "male"))
    names = [name for name in (FEMALE if gender == "female" else MALE) if name != taken]
    kind = _choose(rng, KINDS)
    if kind == "child":
        kind = "girl" if gender == "female" else "boy"
    return Character(_choose(rng, names), gender, kind, _choose(rng, tuple(TRAITS)))


def draw_story(rng: random.Random) -> Story:
    """Draws what happens in one story."""
    name = _choose(rng, tuple(PLOTS))
    plot = PLOTS[name]
    hero = _draw_character(rng, taken="")
    friend = _draw_character(rng, taken=hero.name)
    place = _choose(rng, tuple(PLACES))
    return Story(
        plot=name, hero=hero, friend=friend, place=place,
        elder=_choose(rng, tuple(ELDERS)), home=_choose(rng, tuple(HOMES)),
        habit=_choose(rng, HABITS), saying=_choose(rng, SAYINGS),
        weather=_choose(rng, tuple(WEATHERS)), food=_choose(rng, FOODS),
        look=_choose(rng, plot.looks), goal=_choose(rng, plot.goals),
        tool=_choose(rng, tuple(plot.tools)),
        helper=_choose(rng, (friend.name, f"the {PLACES[place].keeper}")),
        cause=_choose(rng, tuple(plot.causes)), ending=_choose(rng, tuple(plot.endings)))


def _templates(story: Story) -> dict[str, tuple[str, ...]]:
    """The sentence templates of every role, as this story needs them."""
    plot, cause, ending = PLOTS[story.plot], story._cause, story._ending
    return SHARED | {"want": plot.want, "cause": cause.told, "ask": plot.ask,
                     "attempt": plot.attempt, "result": ending.result, "after": ending.after}


def _slots(story: Story, rng: random.Random) -> dict[str, str]:
    """What the slots stand for in one telling; a capitalised key holds a capitalised word."""
    place, plot = PLACES[story.place], PLOTS[story.plot]
    loser = story.friend if story.winner is story.hero else story.hero
    first = int(rng.random() * len(place.sights))
    words, shows = FEELINGS[story.feeling]
    first_words, first_shows = FEELINGS[story.first_feeling]
    slots = {field: getattr(story, field) for field in (
        "elder", "habit", "saying", "weather", "food", "place", "look", "goal", "tool", "helper")}
    slots.update(
        hero=story.hero.name, kind=story.hero.kind, trait=story.hero.trait,
        act=TRAITS[story.hero.trait], friend=story.friend.name, fkind=story.friend.kind,
        ftrait=story.friend.trait, athome=story.home, home=HOMES[story.home], full=place.full,
        near=place.near, keeper=place.keeper, sight=place.sights[first],
        sight2=place.sights[first - 1], use=plot.tools[story.tool],
        weatherlate=WEATHERS[story.weather], winner=story.winner.name, loser=loser.name,
        feeling=_choose(rng, words), show=_choose(rng, shows), mid=_choose(rng, first_words),
        midshow=_choose(rng, first_shows), reason=_choose(rng, story._cause.reason))
    slots["reason"] = slots["reason"].format_map(slots)
    for prefix, gender in (("", story.hero.gender), ("f", story.friend.gender),
                           ("e", ELDERS[story.elder])):
        for slot, pronoun in zip(("he", "him", "his"), _PRONOUNS[gender]):
            slots[prefix + slot] = pronoun
    return slots | {key.capitalize(): word[0].upper() + word[1:] for key, word in slots.items()}


def _fill(template: str, slots: dict[str, str], rng: random.Random) -> str:
    """One sentence: a wording of each [one|other], the slots, and "an" before a vowel."""
    worded = re.sub(r'\[([^]]*)\]', lambda match: _choose(rng, match[1].split("|")), template)
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", worded.format_map(slots))


def tell(story: Story, rng: random.Random, whole: bool = False) -> list[list[tuple[str, str]]]:
    """One telling of the story, sentence by sentence with its role.

    Args:
      story: what happens.
      rng: chooses the words.
      whole: leave nothing out.

    Returns:
      Paragraphs of (role, sentence): [[('opening', 'Once there lived ...'), ...], ...]. The role
      'feeling' says how the hero feels at the end, 'result' and 'after' tell the ending.
    """
    templates, slots = _templates(story), _slots(story, rng)
    left_out = {role for roles, chance in _THREADS if rng.random() >= chance
                for role in roles if not whole}
    paragraphs = []
    for roles in _PARAGRAPHS:
        told = [(role, _fill(_choose(rng, templates[role]), slots, rng))
                for role in roles if role not in left_out]
        # Paragraphs end where a story lets them, not always at the same place.
        if paragraphs and rng.random() < 0.3:
            paragraphs[-1].extend(told)
        else:
            paragraphs.append(told)
    return paragraphs


def render(story: Story, rng: random.Random) -> str:
    """The words of one telling: paragraphs joined by a newline, none at the end."""
    return "\n".join(" ".join(sentence for _, sentence in paragraph)
                     for paragraph in tell(story, rng))


def generate(seed: int, num_bytes: int) -> Iterator[tuple[Story, str]]:
    """Stories and their texts until the texts hold at least `num_bytes` bytes of UTF-8."""
    rng = random.Random(seed)
    written = 0
    while written < num_bytes:
        story = draw_story(rng)
        text = render(story, rng)
        written += len(text.encode("utf-8"))
        yield story, text
