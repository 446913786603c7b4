"""Plots about things: one is lost, one broken, one to be given away. See words.py."""

from pipelines.grammar.words import Cause, Ending, Plot

_COLOURS = ('red', 'blue', 'green', 'yellow', 'white', 'black', 'golden', 'striped')
_LOST = Plot(
    goals=('kite', 'hat', 'scarf', 'ribbon', 'shawl', 'flag', 'mitten', 'cap', 'sash', 'bonnet',
           'glove', 'apron'),
    looks=_COLOURS,
    tools={'little lantern': 'held it up to every dark corner', 'long stick': 'poked about with it',
           'brass spyglass': 'looked through it in every direction',
           'fishing rod': 'felt about with it',
           'wooden whistle': 'blew it to call the birds for help'},
    want=('Of all {his} things, {hero} [loved|liked] the {look} {goal} best.',
          '{hero} had a {look} {goal}, a gift from {his} {elder}, and [took it everywhere|loved it '
          'dearly].',
          '{hero} was [wearing|carrying] a {look} {goal}, the [best|dearest] thing {he} had.'),
    causes={
        'wind': Cause('sad', ('[Suddenly|All at once] the wind [tore|pulled] the {goal} away and '
                              'carried it [off|far off].',
                              'Then the wind took hold of the {goal}, and it [flew|sailed] away.'),
                      ('The wind has taken my {goal}', 'My {goal} flew away in the wind')),
        'dog': Cause('angry', ('A [strange|big] dog [jumped up|ran past], seized the {goal} and '
                               'ran off with it.',
                               'But a dog [came by and|came and] stole the {goal}.'),
                     ('A dog has stolen my {goal}', 'That dog ran away with my {goal}')),
        'hole': Cause('worried', ('[At noon|Later] {hero} found a hole in the bag, and the {goal} '
                                  'was not there.',
                                  'There was a hole in the bag, and the {goal} had fallen out '
                                  '[somewhere|on the way].'),
                      ('My {goal} has fallen out of the bag',
                       'There was a hole, and my {goal} is not here')),
        'forgotten': Cause('sorry', ('{hero} put the {goal} down to play and forgot [it|all about '
                                     'it].',
                                     'But {hero} had left the {goal} lying [about|somewhere] and '
                                     'could not think where.'),
                           ('I have forgotten where I left my {goal}',
                            'I left my {goal} somewhere')),
    },
    ask=('"Have you seen a {look} {goal}?" {hero} asked the {keeper}.',
         '"We are looking for a {look} {goal}," {friend} told the {keeper}.'),
    attempt=('They [looked|searched] all around {sight2}, but there was no {goal}.',
             '{hero} searched near {sight2} and found nothing.'),
    endings={
        'found': Ending('happy', True,
                        ('At first the {look} {goal} seemed to be gone, but [then|in the end] it '
                         'was there.',
                         'Something {look} moved by {sight2}. It was not a leaf, it was the '
                         '{goal}.',
                         'It turned out that the {keeper} had not thrown the {goal} away but kept '
                         'it.'),
                        ('{hero} [held|carried] the {goal} [close|tightly] all the way home.',
                         'From then on {hero} [looked after|watched over] the {goal} better.')),
        'gone': Ending('sad', False,
                       ('At first the {look} {goal} seemed to be there, but [then|in the end] it '
                        'was gone.',
                        'Something {look} moved by {sight2}. It was not the {goal}, it was a leaf.',
                        'It turned out that the {keeper} had not kept the {goal} but thrown it '
                        'away.'),
                       ('{hero} [went|walked] home without the {goal}.',
                        'Nobody ever saw the {goal} again.')),
        'given': Ending('grateful', False,
                        ('The {goal} was gone for good, but {friend} gave {hero} a new one.',
                         'They did not find the {goal}, but {friend} had one [just|quite] like it '
                         'and gave it to {hero}.'),
                        ('{hero} [loved|treasured] the new {goal} because it came from {friend}.',
                         'The new {goal} was [even|almost] better than the old one.')),
    })
_BROKEN = Plot(
    goals=('vase', 'teapot', 'clock', 'jug', 'mirror', 'bowl', 'plate', 'lamp', 'cup', 'jar',
           'pitcher', 'basin'),
    looks=_COLOURS,
    tools={'pot of glue': 'put some on every piece', 'ball of string': 'tied the pieces together',
           'roll of wire': 'bound it round and round', 'lump of clay': 'filled the cracks with it',
           'small hammer': 'tapped the bent parts straight'},
    want=('On the shelf stood a {look} {goal} that {his} {elder} loved.',
          '{hero} and {friend} were allowed to [clean|polish] the {look} {goal} that belonged to '
          '{his} {elder}.',
          'The dearest thing {his} {elder} owned was a {look} {goal}.'),
    causes={
        'hero': Cause('sorry', ('It was {hero}, not {friend}, who [dropped|let fall] the {goal}, '
                                'and it broke.',
                                'The {goal} fell and broke, and not {friend} but {hero} had pushed '
                                'it.'),
                      ('I have broken the {goal}', 'The {goal} is broken, and I did it')),
        'friend': Cause('angry', ('It was {friend}, not {hero}, who [dropped|let fall] the {goal}, '
                                  'and it broke.',
                                  'The {goal} fell and broke, and not {hero} but {friend} had '
                                  'pushed it.'),
                        ('You have broken the {goal}', 'The {goal} is broken, and you did it')),
        'cat': Cause('sad', ('The cat [jumped|climbed] on the shelf, and down fell the {goal}.',
                             'With one paw the cat pushed the {goal} from the shelf, and it '
                             'broke.'),
                     ('The cat has broken the {goal}', 'The {goal} is broken, and it was the cat')),
        'alone': Cause('afraid', ('{hero} was alone with the {goal} when it [cracked|broke] all by '
                                  'itself.',
                                  'All by itself the {goal} cracked, and only {hero} was in the '
                                  'room.'),
                       ('The {goal} broke by itself, and nobody will believe me',
                        'They will say that I broke the {goal}')),
    },
    ask=('"Can you mend a {look} {goal}?" {hero} asked the {keeper}.',
         '"Our {goal} is broken," {friend} told the {keeper}.'),
    attempt=('They laid the pieces [down near|out beside] {sight2}, but the {goal} fell apart '
             'again.',
             'Beside {sight2} they put it together, but the {goal} would not hold.'),
    endings={
        'mended': Ending('happy', True,
                         ('At first the {goal} looked broken, but [then|in the end] it was whole.',
                          '{His} {elder} had thought that the {goal} was lost, but it was mended.',
                          'When the {keeper} had done, the {look} {goal} was not in pieces, it was '
                          'whole.'),
                         ('The {goal} went back to its place on the shelf.',
                          '{His} {elder} never saw where the {goal} had been cracked.')),
        'ruined': Ending('sad', False,
                         ('At first the {goal} looked whole, but [then|in the end] it was broken.',
                          '{His} {elder} had thought that the {goal} was mended, but it was lost.',
                          'When the {keeper} had done, the {look} {goal} was not whole, it was in '
                          'pieces.'),
                         ('They [buried|put] the pieces of the {goal} under a stone.',
                          'The place on the shelf stayed empty without the {goal}.')),
        'forgiven': Ending('grateful', False,
                           ('The {goal} could not be mended, but {his} {elder} was not cross at '
                            'all.',
                            '{His} {elder} looked at the broken {goal} and forgave {him}.'),
                           ('"I love you more than any {goal}," {his} {elder} said.',
                            '"It was only a {goal}," said {his} {elder}.')),
    })
_GIFT = Plot(
    goals=('necklace', 'blanket', 'basket', 'brooch', 'fan', 'purse', 'pillow', 'bracelet',
           'candle', 'comb', 'ring', 'locket'),
    looks=('blue', 'green', 'yellow', 'white', 'golden', 'red', 'pretty', 'lovely'),
    tools={'glass marble': 'offered to give it away', 'tin soldier': 'asked what it was worth',
           'paper fish': 'laid it down as payment', 'carved spoon': 'held it out for a trade',
           'shiny shell': 'wanted to pay with it'},
    want=('It was the birthday of {his} {elder}, and {hero} wanted to give {ehim} a {look} {goal}.',
          '{His} {elder} had [long|always] wished for a {look} {goal}, and [it was {ehis} '
          'birthday|{ehis} birthday had come].',
          'For the birthday of {his} {elder}, {hero} had thought of a {look} {goal}.'),
    causes={
        'money': Cause('sad', ('But {hero} had no money at all.',
                               'But a {goal} cost too much, and {hero} had only one penny.'),
                       ('I have no money for a {goal}', 'The {goal} costs too much for me')),
        'sold': Cause('jealous', ('But somebody else had just bought the last {goal}.',
                                  'The last {goal} in the shop had [just gone|gone] to somebody '
                                  'else.'),
                      ('Somebody else has bought the last {goal}',
                       'Others have a {goal}, and I have not')),
        'forgot': Cause('sorry', ('But {hero} had forgotten the day and had nothing ready.',
                                  'Until that hour {hero} had forgotten all about it.'),
                        ('I forgot the birthday', 'It is the birthday, and I have nothing ready')),
        'thief': Cause('angry', ('But a thief had emptied the money box of {hero} in the night.',
                                 'In the night a thief had taken every penny {hero} had.'),
                       ('A thief has taken my money', 'A thief has emptied my money box')),
    },
    ask=('"Do you have a {look} {goal}?" {hero} asked the {keeper}.',
         'The {keeper} had just one {look} {goal} and did not want to [sell|part with] it.'),
    attempt=('They worked all [morning|day] near {sight2}, but it was not enough for the {goal}.',
             '{hero} offered to work near {sight2} all day, but the {keeper} only laughed.'),
    endings={
        'in_time': Ending('proud', True,
                          ('They got the {goal}. {hero} thought {he} was late, but {he} was in '
                           'time.',
                           'The {keeper} gave them the {goal}, and the birthday was not over but '
                           'just beginning.'),
                          ('{His} {elder} showed the {goal} to everyone.',
                           '{His} {elder} said that no {goal} was ever so fine.')),
        'late': Ending('sad', False,
                       ('They got the {goal}. {hero} thought {he} was in time, but {he} was late.',
                        'The {keeper} gave them the {goal}, and the birthday was not just '
                        'beginning but over.'),
                       ('{His} {elder} found the {goal} by the door the next day.',
                        'The {goal} lay on the table, and nobody [saw|looked at] it.')),
        'preferred': Ending('happy', True,
                            ('{friend} had a gift too, and {his} {elder} loved the one from '
                             '{winner} more than the one from {loser}.',
                             'There were two gifts, and {his} {elder} opened that of {winner} '
                             'before that of {loser}.'),
                            ('{His} {elder} slept with the {goal} beside {ehim}.',
                             '"What a {look} {goal}!" {ehe} said again and again.')),
        'outdone': Ending('jealous', False,
                          ('{friend} had a gift too, and {his} {elder} loved the one from {winner} '
                           'more than the one from {loser}.',
                           'There were two gifts, and {his} {elder} opened that of {winner} before '
                           'that of {loser}.'),
                          ('{His} {elder} put the {goal} away in a box.',
                           'The {goal} stayed in its paper all evening.')),
    })
THINGS = {'lost': _LOST, 'broken': _BROKEN, 'gift': _GIFT}
