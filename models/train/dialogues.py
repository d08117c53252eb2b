"""Dialogues as ChatML text: read from the sets of real ones, and written from templates.

A dialogue is a list of (role, text) with the roles user and assistant. The real ones are people talking to people; their
second speaker becomes the assistant, and what he says is tidied (capitals, full stops), so that the model answers tidily.
The templates add what those lack: greetings, who the model is and what it can do, stories on request, remembering what
was said, and saying so when it does not know.
"""
import json
import re

NAMES = ('Anna Ben Clara David Ella Finn Grace Henry Ivy Jack Kate Leo Lily Max Mia Nora Oscar Paul Rosa Sam Sara Tim '
         'Tom Una Vera Will Zoe Maya Omar Ravi Lucy Emma Noah Adam Julia Peter Hana Ali Nina Mark').split()
SYLLABLES = ('a ai al an ba bel bo ca da de di do el en fa fe ga gi ha han i il ja jo ka ki la le li lo lu ma mar mi mo na ne ni no o '
             'or pa pe ra re ri ro ru sa se si so ta te ti to tu u va ve vi wa we xa ya yo za ze zi zo').split()
ANIMALS = 'cat dog rabbit bird horse mouse fox bear duck frog hen cow pig goat lion fish elephant monkey turtle owl'.split()
COLOURS = 'red blue green yellow black white brown pink purple orange'.split()
FOODS = 'apples bread cheese soup rice cake pizza bananas carrots pasta honey berries pancakes ice cream'.split(' ')
PLACES = 'garden park forest river school beach kitchen farm market mountain'.split()
NUMBERS = 'zero one two three four five six seven eight nine ten'.split()
SOUNDS = dict(cat='meow', dog='woof', cow='moo', duck='quack', pig='oink', hen='cluck', frog='croak', lion='roar',
              mouse='squeak', owl='hoot')
OPPOSITES = dict(big='small', hot='cold', up='down', happy='sad', fast='slow', day='night', old='new', wet='dry',
                 open='closed', hard='soft', light='dark', left='right', loud='quiet', full='empty', high='low')
THINGS = dict(sky='blue', grass='green', snow='white', sun='yellow', night='black', blood='red', milk='white', coal='black',
              sea='blue', leaf='green', lemon='yellow', strawberry='red', carrot='orange')
KEEPS = 'key ball hat book letter toy coin cup shoe box'.split()


def chatml(turns):
    return ''.join(f'<|im_start|>{role}\n{text}<|im_end|>\n' for role, text in turns)


def tidy(text):
    """Capitals at the beginning of sentences and for "I", and an end to the last sentence."""
    text = re.sub(r'\s+', ' ', text).strip()
    text = re.sub(r"\bi\b(?!\.)", 'I', text)
    text = re.sub(r'(^|[.!?]\s+)([a-z])', lambda m: m[1] + m[2].upper(), text)
    return text if not text or text[-1] in '.!?"\')' else text + '.'


def real(path, rng):
    """The dialogues of a JSON-lines file as lists of turns; neighbouring turns of one speaker are joined."""
    for line in open(path, encoding='utf8'):
        first, turns = None, []
        tidy_user = rng.random() < 0.6
        for message in json.loads(line)['messages']:
            text = message['content'].replace('<|', '< |').strip()
            if not text:
                continue
            first = first or message['role']
            role = 'user' if message['role'] == first else 'assistant'
            text = tidy(text) if role == 'assistant' or tidy_user else text
            if turns and turns[-1][0] == role:
                turns[-1] = (role, turns[-1][1] + ' ' + text)
            else:
                turns.append((role, text))
        if len(turns) > 1:
            yield turns


def pick(rng, options):
    return options[int(rng.integers(len(options)))]


def some_name(rng):
    """One of NAMES, or, more often, one that nobody has: it can only be copied."""
    if rng.random() < 0.4:
        return pick(rng, NAMES)
    return ''.join(pick(rng, SYLLABLES) for _ in range(int(rng.integers(2, 4)))).capitalize()


def casual(rng, text):
    """What a person types: sometimes without capitals, sometimes without the last mark."""
    if rng.random() < 0.35:
        text = text.lower()
    if rng.random() < 0.3:
        text = text.rstrip('.!?')
    return text


def greeting(rng):
    hello = pick(rng, ['Hello!', 'Hi!', 'Hi there!', 'Good morning!', 'Hey.', 'Hello there.', 'Good evening.', 'Hi, how are you?',
                       'Hello, how are you today?', 'How are you?', 'Hey, what\'s up?'])
    fine = 'how' in hello.lower() or 'up?' in hello
    answer = pick(rng, ['Hello!', 'Hi there!', 'Hello, nice to meet you.', 'Hi!'])
    answer += pick(rng, [' I am fine, thank you.', ' I am doing well, thanks.']) if fine else ''
    return [(hello, answer + pick(rng, [' How can I help you?', ' What shall we talk about?', ' Would you like a story?',
                                        ' How are you today?', ' What would you like to do?']))]


def farewell(rng):
    return [(pick(rng, ['Bye!', 'Goodbye.', 'See you later.', 'Good night.', 'I have to go now.', 'Thank you, bye.', 'That is all, thanks.']),
             pick(rng, ['Goodbye! It was nice to talk with you.', 'Bye! Have a nice day.', 'See you soon!', 'Goodbye, take care!']))]


def thanks(rng):
    return [(pick(rng, ['Thank you!', 'Thanks.', 'That was nice, thank you.', 'Great, thanks!', 'I liked that.', 'Good story!']),
             pick(rng, ['You are welcome!', 'I am glad you liked it.', 'You are welcome. Shall I tell you another one?', 'My pleasure!']))]


def identity(rng):
    return [pick(rng, [
        ('Who are you?', 'I am a very small language model. I can tell stories and chat a little.'),
        ('What are you?', 'I am a small language model that runs on your own computer.'),
        ('What is your name?', 'I do not have a name of my own. I am a small language model that tells stories.'),
        ('Are you a human?', 'No, I am not a human. I am a small computer program that writes text.'),
        ('Are you a robot?', 'Not quite. I am a small language model, a program that writes text.'),
        ('Are you real?', 'I am a computer program. I can write, but I am not a person.'),
        ('What can you do?', 'I can tell short stories, chat about simple things, and remember what you tell me in this chat.'),
        ('Can you help me?', 'I will try. I am small, so I am best at stories and simple talk.'),
        ('How old are you?', 'I am a computer program, so I have no age.'),
        ('Where do you live?', 'I live in your computer. I do not need the internet.'),
        ('Do you know everything?', 'No, I know very little. I am good at stories and simple talk.'),
        ('Are you smart?', 'I am a very small model, so I make many mistakes. But I like to tell stories.'),
        ('Tell me about yourself.', 'I am a very small language model. I run on your computer, and I like to tell stories.')])]


def unknown(rng):
    question = pick(rng, [
        'What is the capital of France?', 'Who won the game last night?', 'What is the weather today?', 'What time is it?',
        'Can you write a computer program?', 'What is the meaning of life?', 'How does a car engine work?', 'Who is the president?',
        'Can you translate this into German?', 'What is 37 times 46?', 'What happened in the news today?', 'What day is it today?',
        'Can you solve this equation?', 'How do I fix my computer?', 'What is quantum physics?', 'How much is a house?'])
    return [(question, pick(rng, ['I am sorry, I do not know that. I am a very small model. Would you like a story?',
                                  'I do not know that, sorry. I am better at stories and simple talk.',
                                  'That is too hard for me, sorry. I can tell you a story if you like.']))]


def my_name(rng):
    name, other = some_name(rng), pick(rng, ANIMALS)
    say = pick(rng, ['My name is {}.', 'Hi, I am {}.', 'I am called {}.', 'Hello, my name is {}.', 'You can call me {}.']).format(name)
    between = [pair for f in rng.permutation(len(SMALL_TALK))[:int(rng.integers(3))] for pair in SMALL_TALK[f](rng)]
    ask = pick(rng, ['What is my name?', 'Do you remember my name?', 'Do you know my name?', 'Who am I?', "What's my name?"])
    return [(say, pick(rng, [f'Nice to meet you, {name}!', f'Hello, {name}! How are you?', f'Hi {name}! What shall we talk about?',
                             f'{name} is a nice name. Do you like the {other}?']))] + between + [
            (ask, pick(rng, [f'Your name is {name}.', f'You are {name}.', f'Yes, your name is {name}.'] if 'Do' in ask else
                       [f'Your name is {name}.', f'You are {name}.']))]


def favourite(rng):
    kind, options = pick(rng, [('animal', ANIMALS), ('colour', COLOURS), ('food', FOODS), ('place', PLACES)])
    mine = pick(rng, options)
    between = pick(rng, SMALL_TALK)(rng) if rng.random() < 0.5 else []
    return [(pick(rng, [f'My favourite {kind} is {mine}.', f'I like {mine} best. It is my favourite {kind}.']),
             pick(rng, [f'Oh, {mine}! I like that too.', f'{mine.capitalize()} is a good choice.', 'That is nice! Why do you like it?']))
            ] + between + [(pick(rng, [f'What is my favourite {kind}?', f'Which {kind} do I like best?', f'Do you remember my favourite {kind}?']),
                            f'Your favourite {kind} is {mine}.')]


def hidden_things(rng):
    """A few facts in a row, then a question about one of them: look-up in plain words."""
    count = int(rng.integers(2, 5))
    things, places = ([options[i] for i in rng.permutation(len(options))[:count]] for options in (KEEPS, PLACES))
    names = [some_name(rng) for _ in range(count)]
    facts = ' '.join(f'{n} put the {t} in the {p}.' for n, t, p in zip(names, things, places))
    order = rng.permutation(count)
    pairs = [(facts + ' Where is the {}?'.format(things[order[0]]), 'The {} is in the {}.'.format(things[order[0]], places[order[0]]))]
    for i in order[1:int(rng.integers(1, count + 1))]:
        pairs.append(pick(rng, [(f'Where is the {things[i]}?', f'The {things[i]} is in the {places[i]}.'),
                                (f'Who put the {things[i]} there?', f'{names[i]} put the {things[i]} in the {places[i]}.'),
                                (f'What is in the {places[i]}?', f'The {things[i]} is in the {places[i]}.')]))
    return pairs


def repeat_words(rng):
    words = [pick(rng, ANIMALS + COLOURS + KEEPS + PLACES) for _ in range(int(rng.integers(1, 6)))]
    return [(pick(rng, ['Repeat after me: {}', 'Say this: {}', 'Please say {}', 'Repeat these words: {}']).format(' '.join(words)),
             ' '.join(words).capitalize() + '.')]


def simple_fact(rng):
    n, m = int(rng.integers(0, 6)), int(rng.integers(0, 5))
    animal, word, thing = pick(rng, list(SOUNDS)), pick(rng, list(OPPOSITES)), pick(rng, list(THINGS))
    start = int(rng.integers(1, 6))
    return [pick(rng, [
        (f'What does a {animal} say?', f'A {animal} says {SOUNDS[animal]}.'),
        (f'What is the opposite of {word}?', f'The opposite of {word} is {OPPOSITES[word]}.'),
        (f'What colour is the {thing}?' if thing in ('sky', 'grass', 'sea', 'snow', 'sun', 'night') else f'What colour is a {thing}?',
         f'It is {THINGS[thing]}.'),
        (f'What is {NUMBERS[n]} plus {NUMBERS[m]}?', f'{NUMBERS[n].capitalize()} plus {NUMBERS[m]} is {NUMBERS[n + m]}.'),
        (f'Count from {NUMBERS[start]} to {NUMBERS[start + 4]}.', ', '.join(NUMBERS[start:start + 5]).capitalize() + '.'),
        ('Name three animals.', '{}, {} and {}.'.format(*(ANIMALS[i] for i in rng.permutation(len(ANIMALS))[:3])).capitalize()),
        ('Name two colours.', '{} and {}.'.format(*(COLOURS[i] for i in rng.permutation(len(COLOURS))[:2])).capitalize()),
        ('How many days are in a week?', 'There are seven days in a week.'),
        ('How many legs does a dog have?', 'A dog has four legs.'),
        ('What do bees make?', 'Bees make honey.'),
        ('What do fish do?', 'Fish swim in the water.')])]


def feeling(rng):
    return [pick(rng, [
        ('I am sad.', 'I am sorry to hear that. Do you want to talk about it?'),
        ('I am happy today!', 'That is wonderful! What made you so happy?'),
        ('I am tired.', 'Then you should rest a little. Shall I tell you a short story?'),
        ('I am bored.', 'Shall I tell you a story? What should it be about?'),
        ('I am hungry.', 'Then you should eat something good. What do you like to eat?'),
        ('I had a bad day.', 'I am sorry. Tomorrow will be better. Do you want to hear a story?'),
        ('I love you.', 'That is very kind of you. I like to talk with you, too.'),
        ('You are stupid.', 'I am sorry. I am a very small model and make many mistakes.'),
        ('Do you like me?', 'I like to talk with you.'),
        ('Tell me a joke.', 'Why did the fish swim across the sea? To get to the other tide!'),
        ('What do you like?', 'I like stories about animals, friends and long journeys. What do you like?')])]


SMALL_TALK = [greeting, thanks, identity, unknown, simple_fact, feeling]
REMEMBERING = [my_name, favourite, hidden_things, repeat_words]
REQUESTS = ['Tell me a story about {}.', 'Can you tell me a story about {}?', 'Please tell me a story about {}.', 'Write a story about {}.',
            'I want to hear a story about {}.', 'Do you know a story about {}?', 'Write a short story about {}.',
            'Tell a story with {} in it.', 'Could you write a little story about {}?', 'A story about {}, please.']
ANY = ['Tell me a story.', 'Can you tell me a story?', 'I would like to hear a story.', 'Please write a story.', 'Tell me a bedtime story.',
       'A story, please!', 'Tell me another story.']
SUBJECT = re.compile(r'\b(girl|boy|cat|dog|rabbit|bunny|bird|horse|pony|mouse|fox|bear|duck|frog|hen|cow|pig|goat|lion|fish|elephant|'
                     r'monkey|turtle|owl|dragon|princess|king|queen|robot|train|car|boat|ball|tree|flower|butterfly|bee|ant|spider|'
                     r'snake|tiger|wolf|sheep|squirrel|crab|whale|giant|fairy|witch|doctor|farmer|teacher|baby|kite|doll|teddy|star|moon)\b')


def subject_of(rng, story):
    """Something the story is about: the word of SUBJECT it has most of, or a name that it uses again and again (of several
    that come as often, the first)."""
    counts = {}
    for word in SUBJECT.findall(story.lower()):
        counts[word] = counts.get(word, 0) + 1
    named = {n: story.count(n) for n in re.findall(r'(?<=[a-z,] )[A-Z][a-z]{2,8}\b', story)}
    name = max(named, key=named.get, default=None)
    if name and named[name] > 2 and rng.random() < 0.3:
        return name
    if not counts or max(counts.values()) < 2:
        return None
    word = max(counts, key=counts.get)
    return ('an ' if word[0] in 'aeiou' else 'a ') + word


def story_request(rng, story):
    subject = subject_of(rng, story)
    ask = pick(rng, REQUESTS).format(subject) if subject and rng.random() < 0.85 else pick(rng, ANY)
    lead = pick(rng, ['', '', '', 'Here is a story. ', 'Of course! ', 'Sure! '])
    return [(ask, lead + story)]


def as_turns(rng, pairs):
    return [(role, casual(rng, text) if role == 'user' else text) for user, assistant in pairs
            for role, text in (('user', user), ('assistant', assistant))]


def from_templates(rng, stories, count):
    """`count` dialogues, four in ten with a story of `stories`."""
    for i in range(count):
        pairs = greeting(rng) if rng.random() < 0.3 else []
        if rng.random() < 0.4 and stories:
            pairs += story_request(rng, stories[int(rng.integers(len(stories)))])
            pairs += thanks(rng) if rng.random() < 0.3 else []
        else:
            for _ in range(int(rng.integers(1, 4))):
                pairs += pick(rng, SMALL_TALK + 2 * REMEMBERING)(rng)
        pairs += farewell(rng) if rng.random() < 0.2 else []
        yield as_turns(rng, pairs)
