"""Plots about deeds: a race, a rescue, an errand. See words.py."""

from pipelines.grammar.words import Cause, Ending, Plot

_CONTEST = Plot(
    goals=('cup', 'bell', 'trumpet', 'crown', 'drum', 'fiddle', 'medal', 'saddle', 'horn',
           'wreath', 'sledge', 'flute'),
    looks=('silver', 'golden', 'shining', 'tiny', 'painted', 'little', 'fine', 'splendid'),
    tools={'lucky coin': 'rubbed it three times', 'white feather': 'held it up for luck',
           'round pebble': 'rolled it from hand to hand',
           'dry clover leaf': 'whispered a wish over it',
           'old button': 'kissed it for luck'},
    want=('There was to be a [race|great race] {near} {full}, and the prize was a {look} {goal}.',
          'The {keeper} {near} {full} had [promised|offered] a {look} {goal} to the [winner|best '
          'runner] of a race.',
          'A {look} {goal} was the prize of the race {near} {full}, and both {hero} and {friend} '
          'wanted it.'),
    causes={
        'laughed': Cause('afraid', ('But the year before, {hero} had fallen, and everyone had '
                                    'laughed.',
                                    '{hero} had fallen in the last race, and how they had '
                                    'laughed!'),
                         ('They will laugh at me again', 'I fell in the last race')),
        'promised': Cause('worried', ('{hero} had promised to bring the {goal} home to {his} '
                                      '{elder}.',
                                      '"I will win the {goal} for you," {hero} had told {his} '
                                      '{elder}.'),
                          ('I have promised to win the {goal}',
                           'I cannot come home without the {goal}')),
        'beaten': Cause('jealous', ('But {friend} had won every race so far, and {hero} not one.',
                                    'So far {friend} had been first each time, and {hero} second.'),
                        ('You win every time', 'I have never been first')),
        'tripped': Cause('angry', ('On the way a rude goose bit {hero} in the foot.',
                                   'But a goose came hissing along and bit {hero} in the foot.'),
                         ('A goose has bitten me in the foot',
                          'My foot hurts, for a goose bit it')),
    },
    ask=('"Where does the race begin?" {hero} asked the {keeper}.',
         'The {keeper} [showed them|pointed to] the {look} {goal}, and they could not look away.'),
    attempt=('In the first round they ran past {sight2}, and {loser} was ahead.',
             'The first round went past {sight2}, and {loser} was in front.'),
    endings={
        'won': Ending('proud', True,
                      ('{loser} was quick, but {winner} was quicker.',
                       'When it was over, the {keeper} gave the {goal} to {winner} and not to '
                       '{loser}.',
                       'It was {winner}, not {loser}, who got the {look} {goal}.'),
                      ('{hero} let {friend} [hold|carry] the {goal} on the way back.',
                       'The {goal} stood beside the bed of {hero} that night.')),
        'lost': Ending('jealous', False,
                       ('{loser} was quick, but {winner} was quicker.',
                        'When it was over, the {keeper} gave the {goal} to {winner} and not to '
                        '{loser}.',
                        'It was {winner}, not {loser}, who got the {look} {goal}.'),
                       ('{friend} let {hero} [hold|carry] the {goal} on the way back.',
                        'The {goal} stood beside the bed of {friend} that night.')),
        'shared': Ending('happy', True,
                         ('They came in side by side, so the {goal} went to both.',
                          'Neither was first, for they [ended|came in] together, and the {goal} '
                          'was for both.'),
                         ('They took turns with the {goal}, one week each.',
                          'Each kept the {goal} for half of the year.')),
    })
_RESCUE = Plot(
    goals=('kitten', 'lamb', 'duckling', 'puppy', 'foal', 'chick', 'piglet', 'gosling', 'calf',
           'fawn', 'goat', 'donkey'),
    looks=('white', 'black', 'grey', 'brown', 'spotted', 'tiny', 'thin', 'hungry'),
    tools={'coil of rope': 'threw down one end', 'folded net': 'spread it out below',
           'long scarf': 'let it down slowly', 'wooden spoon': 'dug with it as fast as could be',
           'ball of twine': 'made a loop at the end'},
    want=('The {keeper} {near} {full} had a {look} {goal}, and {hero} [loved it|often played with '
          'it].',
          '{hero} liked to visit a {look} {goal} that belonged to the {keeper} {near} {full}.',
          '{Near} {full} there was a {look} {goal}, and {hero} [brought|took] it milk [every '
          'day|each morning].'),
    causes={
        'mud': Cause('afraid', ('[That day|Now] the {goal} had sunk into deep mud and could not '
                                'move.',
                                'But the {goal} was stuck in the mud, and it was [slowly|already] '
                                'sinking.'),
                     ('The {goal} is sinking in the mud', 'The {goal} is stuck in the mud')),
        'thorns': Cause('sad', ('[That day|Now] the {goal} was caught in a thorn bush and cried.',
                                'But the {goal} had run into a thorn bush and was hurt.'),
                        ('The {goal} is caught in the thorns', 'The thorns have hurt the {goal}')),
        'pit': Cause('worried', ('[That day|Now] the {goal} had fallen into a pit.',
                                 'But the {goal} lay at the bottom of a pit and [called|cried].'),
                     ('The {goal} has fallen into a pit', 'The {goal} cannot get out of the pit')),
        'trap': Cause('angry', ('[That day|Now] somebody had set a trap, and the {goal} was in it.',
                                'But the {goal} sat in a trap that somebody had set.'),
                      ('Somebody has caught the {goal} in a trap', 'The {goal} is in a trap')),
    },
    ask=('"Where is the {goal}?" {hero} asked the {keeper}.',
         '"Please help my {goal}," the {keeper} [said|begged].'),
    attempt=('They heard it behind {sight2}, but the {goal} was too far down to reach.',
             '{loser} crept past {sight2}, but could not get hold of the {goal}.'),
    endings={
        'hero': Ending('proud', True,
                       ('It was {winner}, not {loser}, who [pulled|lifted] the {goal} out.',
                        '{loser} could not reach the {goal}, but {winner} could.',
                        'Not {loser} but {winner} set the {goal} free.'),
                       ('The {goal} followed {hero} all the way home.',
                        'After that the {goal} always ran to {hero} first.')),
        'friend': Ending('jealous', False,
                         ('It was {winner}, not {loser}, who [pulled|lifted] the {goal} out.',
                          '{loser} could not reach the {goal}, but {winner} could.',
                          'Not {loser} but {winner} set the {goal} free.'),
                         ('The {goal} followed {friend} all the way home.',
                          'After that the {goal} always ran to {friend} first.')),
        'itself': Ending('happy', True,
                         ('In the end nobody had to pull, for the {goal} [jumped|climbed] out by '
                          'itself.',
                          'Then the {goal} gave one great jump and was free.'),
                         ('The {keeper} laughed and let the {goal} [sleep|rest] by the fire.',
                          'The {goal} shook itself and ran round and round them both.')),
    })
_ERRAND = Plot(
    goals=('berries', 'apples', 'pears', 'plums', 'cherries', 'peaches', 'grapes', 'figs',
           'apricots', 'oranges', 'melons', 'tomatoes'),
    looks=('fresh', 'sweet', 'crisp', 'juicy', 'fine', 'lovely', 'shiny', 'tasty'),
    tools={'piece of chalk': 'marked every corner with it', 'tin compass': 'followed its needle',
           'little lantern': 'lit the path with it', 'loud bell': 'rang it again and again',
           'ball of wool': 'let it unroll behind them'},
    want=('{hero} was to [bring|fetch] a basket of {look} {goal} from {full}.',
          '"We need {look} {goal}," said {his} {elder}. "[Go|Run] and get some {near} {full}."',
          '{His} {elder} sent {hero} to {full} for {look} {goal}.'),
    causes={
        'dark': Cause('afraid', ('But it grew dark [early|too soon], and {hero} could not see the '
                                 'road.',
                                 'Then a black cloud came, and it was as dark as night.'),
                      ('It is so dark that I cannot see the road', 'I do not like the dark')),
        'turn': Cause('sorry', ('But {hero} [was dreaming|did not listen] and took the wrong turn.',
                                'At the crossing {hero} did not look and went the wrong way.'),
                      ('I did not look and went the wrong way', 'I have taken the wrong turn')),
        'flood': Cause('worried', ('But the road was under water, and {hero} had to go round.',
                                   'The water stood high on the road, and nobody could pass.'),
                       ('The road is under water', 'I cannot pass, for the water is too high')),
        'sign': Cause('angry', ('But somebody had turned the signpost the wrong way, as a joke.',
                                'The signpost had been turned round as a joke, and it [lied|told '
                                'lies].'),
                      ('Somebody has turned the signpost', 'The signpost tells lies')),
    },
    ask=('"May we have some {goal}?" {hero} asked the {keeper}.',
         'The {keeper} filled the basket with {look} {goal} and [waved|wished them luck].'),
    attempt=('They went round by {sight2}, but came back to where they had begun.',
             'On the way back they passed {sight2} twice and were quite lost.'),
    endings={
        'home': Ending('happy', True,
                       ('They thought the road led away from home, but it led straight to it.',
                        'First they lost the way, and then they found it.',
                        'They were not late, and the {goal} were {look}.'),
                       ('{His} {elder} [washed|counted] the {goal} and praised {him}.',
                        'There were {goal} on the table for a week.')),
        'lost': Ending('sad', False,
                       ('They thought the road led straight to home, but it led away from it.',
                        'First they found the way, and then they lost it.',
                        'They were late, and the {goal} were not {look}.'),
                       ('{His} {elder} [looked at|counted] the {goal} and said nothing.',
                        'The {goal} were thrown to the birds.')),
        'carried': Ending('grateful', False,
                          ('{hero} was too tired to go on, so {friend} carried both {him} and the '
                           '{goal}.',
                           'Then {hero} could walk no further, and {friend} took {him} and the '
                           '{goal} home.'),
                          ('{His} {elder} gave half of the {goal} to {friend}.',
                           'The biggest of the {goal} went to {friend}.')),
    })
DEEDS = {'contest': _CONTEST, 'rescue': _RESCUE, 'errand': _ERRAND}
