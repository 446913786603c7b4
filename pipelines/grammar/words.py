"""The words of the story grammar: tables only; how they become stories stands in stories.py.

A sentence template holds `[one|other]` for wordings that mean the same, and `{slots}` that the
story fills: {hero} {friend} {elder} {goal} {tool} {place} ...; {he} {him} {his} are the hero's,
{fhe} {fhim} {fhis} the friend's, {ehe} {ehim} {ehis} the elder's pronouns; {winner} and {loser} are
hero and friend or the other way round; a slot with a capital ({He}) is capitalised. Almost every
"the ..." is a slot: what stands there was settled sentences before, out of a trigram's sight.
"""

import dataclasses

FEMALE = ('Lily Mia Rosa Anna Clara Nora Ruby Ivy Tess Ella Dora Flora Hazel Emma Poppy Wren Greta '
          'Maud Sally Edith').split()
MALE = ('Tom Ben Jack Finn Max Leo Oscar Hugo Theo Sam Ned Otto Felix Jasper Rufus Albert Henry '
        'Walter Peter Arthur').split()

# A child is a girl or a boy by gender; the others may be either.
KINDS = 'child child child child fox rabbit bear mouse hedgehog squirrel badger otter'.split()
ELDERS = {'mother': 'female', 'father': 'male', 'grandmother': 'female', 'grandfather': 'male',
          'aunt': 'female', 'uncle': 'male'}

# trait: what such a one does when things go wrong.
TRAITS = {
    'brave': 'did not turn back',
    'patient': 'took a deep breath and waited',
    'stubborn': 'would not give up',
    'clever': 'soon had a plan',
    'careful': 'went over everything once more',
    'cheerful': 'began to laugh',
    'quiet': 'listened very hard',
    'curious': 'wanted to know more',
    'gentle': 'spoke a kind word',
    'quick': 'jumped up at once',
}
HABITS = ('hummed a little tune', 'counted to ten', 'tugged at one ear', 'stood on one leg',
          'drew circles in the dust', 'looked up at the clouds', 'bit a lip',
          'walked round in rings',
          'whistled softly', 'tapped one foot')
SAYINGS = ('Slow feet see more', 'A small light is still a light', 'Every knot has two ends',
           'Rain never asks the way', 'Kind words weigh nothing', 'Even the moon begins thin',
           'Try twice before you cry', 'Two pairs of hands are better than one',
           'The longest road is made of steps', 'Tomorrow is a clean page')

# home: its name later on.
HOMES = {
    'in a village by the sea': 'the village',
    'on a farm under the hill': 'the farm',
    'in a cottage at the edge of the wood': 'the cottage',
    'in a house with a blue door': 'the house with the blue door',
    'in a town with a crooked tower': 'the town',
    'on a boat with brown sails': 'the boat',
    'in an inn beside the road': 'the inn',
    'in a wagon with yellow wheels': 'the wagon',
}
FOODS = ('plum cake', 'onion soup', 'apple pie', 'honey bread', 'pancakes', 'pea soup', 'fish stew',
         'ginger biscuits', 'cheese dumplings', 'cherry jam')

# weather: how it was when the story had run its course.
WEATHERS = {
    'windy': 'the wind had dropped', 'rainy': 'the rain had stopped',
    'snowy': 'the snow shone blue', 'sunny': 'the sun was going down',
    'frosty': 'the frost was back on the grass', 'cloudy': 'the clouds had gone',
    'warm': 'the air was still warm', 'stormy': 'the storm was over',
}


@dataclasses.dataclass(frozen=True)
class Place:
    """full: as first told; near: its preposition; keeper, sights: who and what is met there."""

    full: str
    near: str
    keeper: str
    sights: tuple[str, ...]


PLACES = {
    'mill': Place('the old mill', 'at', 'miller', ('the great wheel', 'the sacks of flour',
                                                   'the mill pond')),
    'forest': Place('the dark forest', 'in', 'woodcutter',
                    ('the tall oaks', 'the soft moss', 'the piles of logs')),
    'beach': Place('the long beach', 'on', 'fisherman',
                   ('the white shells', 'the cold waves', 'the seaweed')),
    'market': Place('the busy market', 'at', 'baker',
                    ('the bright stalls', 'the baskets of eggs', 'the rows of cakes')),
    'lighthouse': Place('the tall lighthouse', 'at', 'sailor',
                        ('the winding stairs', 'the grey rocks', 'the great lamp')),
    'castle': Place('the ruined castle', 'at', 'watchman',
                    ('the broken gate', 'the stone lions', 'the empty towers')),
    'bridge': Place('the stone bridge', 'by', 'ferryman',
                    ('the high reeds', 'the quick water', 'the wet arches')),
    'garden': Place('the walled garden', 'in', 'gardener',
                    ('the rose beds', 'the bean rows', 'the glass house')),
    'barn': Place('the big barn', 'in', 'farmer',
                  ('the hay bales', 'the wooden beams', 'the milk pails')),
    'cave': Place('the deep cave', 'in', 'hermit',
                  ('the dripping stones', 'the dark pools', 'the sleeping bats')),
    'harbour': Place('the noisy harbour', 'at', 'captain',
                     ('the tarred ropes', 'the fishing boats', 'the anchor chains')),
    'station': Place('the railway station', 'at', 'porter',
                     ('the shining rails', 'the wooden benches', 'the heavy trunks')),
    'hill': Place('the bare hill', 'on', 'shepherd',
                  ('the woolly sheep', 'the flat stones', 'the lonely thorn tree')),
    'orchard': Place('the sweet orchard', 'in', 'beekeeper',
                     ('the busy hives', 'the apple trees', 'the tall ladders')),
}

# feeling: (its words, how it shows).
FEELINGS = {
    'happy': (('happy', 'glad', 'merry', 'joyful'),
              ('danced round and round', 'laughed out loud', 'could not stop smiling')),
    'sad': (('sad', 'unhappy', 'downhearted'),
            ('wept a little', 'sat down and cried', 'did not want to talk')),
    'proud': (('proud', 'pleased'),
              ('stood up very straight', 'walked with head held high', 'told it to everyone')),
    'grateful': (('grateful', 'thankful'),
                 ('said thank you three times', 'could not find words enough',
                  'promised not to forget it')),
    'angry': (('angry', 'cross', 'furious'),
              ('stamped on the ground', 'shouted loudly', 'kicked a stone')),
    'sorry': (('sorry', 'ashamed'),
              ('looked at the ground', 'turned very red', 'wished the day could begin again')),
    'afraid': (('afraid', 'scared', 'frightened'),
               ('shook from head to foot', 'turned quite pale', 'wanted to hide')),
    'worried': (('worried', 'anxious', 'uneasy'),
                ('walked up and down', 'sighed and sighed', 'could not sit still')),
    'jealous': (('jealous', 'envious'),
                ('would not look at anyone', 'said nothing kind', 'frowned and frowned')),
}


@dataclasses.dataclass(frozen=True)
class Cause:
    """What went wrong: what the hero then feels, how it is told, and what the hero says of it."""

    feeling: str
    told: tuple[str, ...]
    reason: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Ending:
    """How it came out: the hero's feeling, whether the hero is the winner, result, what follows.

    Endings of a plot come in opposed pairs told in the same words: who got it, what came first,
    what is denied. The words alone do not tell the feeling; how they are put together does.
    """

    feeling: str
    hero_wins: bool
    result: tuple[str, ...]
    after: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Plot:
    """goals with their looks; tools, each with its use; the sentences of each role."""

    goals: tuple[str, ...]
    looks: tuple[str, ...]
    tools: dict[str, str]
    want: tuple[str, ...]
    causes: dict[str, Cause]
    ask: tuple[str, ...]
    attempt: tuple[str, ...]
    endings: dict[str, Ending]


# Told of every story, whatever its plot. The order of the roles stands in stories.py.
SHARED = {
    'opening': (
        '[Once upon a time|Once|Long ago], [there lived|there was] a {trait} {kind} [named|called] '
        '{hero} {athome}.',
        '{hero} was a {trait} {kind} who lived {athome} with {his} {elder}.',
        '{Athome} [there lived|lived] a {trait} {kind} [named|called] {hero}.',
        'This is [a|the] story of {hero}, a {trait} {kind}, who [lived|had a home] {athome}.',
    ),
    'habit': (
        'When {he} was thinking, {hero} [always|often] {habit}.',
        'Whenever {hero} had to think, {he} {habit}.',
        '{He} [always|often] {habit} when there was something to think about.',
    ),
    'saying': (
        '"{saying}," {his} {elder} [always|often] [told {him}|said].',
        '{His} {elder} had taught {him} one thing: "{saying}."',
        '{His} {elder} was fond of saying, "{saying}."',
    ),
    'friend': (
        '{His} [best|dearest|oldest] friend was {friend}, a {ftrait} {fkind}.',
        'A {ftrait} {fkind} named {friend} lived close by, and the two were [good|great] friends.',
        '{He} had one good friend, a {ftrait} {fkind} [called|named] {friend}.',
    ),
    'tool': (
        '[In {his} bag|In {his} pocket|Under {his} coat] {hero} [carried|kept|had] a {tool}.',
        '{hero} never went out without a {tool}.',
        'Wherever {he} went, {hero} took a {tool} along.',
    ),
    'day': (
        '[One {weather} morning|On a {weather} morning] the {elder} of {hero} [was making|began to '
        'make] {food}.',
        'It was a {weather} morning, and for supper there was to be {food}.',
        '{hero} woke up on a {weather} morning, and {his} {elder} was [already making|busy with] '
        '{food}.',
    ),
    'reaction': (
        '{hero} [was|felt] [so {mid} that {he}|very {mid} and] {midshow}.',
        'It made {hero} [very|quite] {mid}. {He} {midshow}.',
        '{hero} {midshow}, for {he} was [very|so] {mid}.',
    ),
    'talk': (
        '"What is [wrong|the matter], {hero}?" asked {friend}. "{reason}," [said|answered|sighed] '
        '{hero}.',
        '{friend} [came by|came along] and asked what was wrong. "{reason}," {hero} [told '
        '{fhim}|replied].',
        '"{reason}," {hero} [said to|told] {friend}, who [stood|was] [near|close by].',
    ),
    'offer': (
        '"[Then let us|Let us] go to {full} [together|at once]," said {friend}.',
        '"[I know the way to|Let us try] {full}," said {friend}. "We will ask the {keeper}."',
        '{friend} [nodded|thought about it]. "The {keeper} {near} {full} [may|will] help us," '
        '{fhe} said.',
    ),
    'journey': (
        '[So|Soon] {hero} and {friend} [walked|hurried|set off] to the {place}, where they '
        '[saw|came to] {sight}.',
        'The two friends [hurried|ran|walked] [past|by] {sight} and [looked|asked] for the '
        '{keeper}.',
        '{Near} the {place} the {keeper} [sat|stood] [near|beside] {sight}.',
    ),
    'think': (
        '{hero} {habit}, as {he} always did. {He} was {trait} and {act}.',
        'But {hero} was {trait}. {He} {habit}, and then {he} {act}.',
        'Being {trait}, {hero} {act}. First {he} {habit}.',
    ),
    'feeling': (
        '{hero} [was|felt] [so {feeling} that {he}|very {feeling} and] {show}.',
        'How {feeling} {hero} was! {He} {show}.',
        '{hero} {show}, because {he} was so {feeling}.',
    ),
    'tooluse': (
        '{hero} took out the {tool} and {use}, and {helper} helped.',
        'With {helper} [close by|looking on], {hero} got out the {tool} and {use}.',
        'Then {hero} thought of the {tool}. {He} {use}, and {helper} [watched|nodded].',
    ),
    'thanks': (
        '"Thank you," {hero} said to {helper}.',
        '{hero} [thanked|waved to] {helper}.',
    ),
    'home': (
        '[That evening|When they came home], {weatherlate}, and the {elder} of {hero} had the '
        '{food} ready.',
        '[In the evening|Later] they [walked|went] back to {home}, and {weatherlate}. They '
        '[ate|shared] the {food}.',
        'By the time {hero} [was back at|came back to] {home}, {weatherlate}. {His} {elder} '
        '[brought|served] the {food}.',
    ),
    'moral': (
        '"{saying}," said {his} {elder}.',
        '{hero} [thought of|remembered] the words of {his} {elder}: "{saying}."',
        'And {his} {elder} [smiled and said|said once more], "{saying}."',
    ),
}
