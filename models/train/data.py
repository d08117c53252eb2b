"""From a folder of texts to token files, and from these to batches.

    python data.py TEXTS OUT --vocab 4096 [--tokenizer FILE] [--templates 40000]

writes OUT/tokenizer.json (byte-level BPE), OUT/<source>.<train|held>.bin (uint16 tokens; every document ends with
<|endoftext|>), OUT/<source>.held.txt (for check.py), OUT/sources.json and OUT/attribution.tsv (whom the picture books are
by), and prints the mix. Documents are held out whole: a story, a dialogue, a book.

Rows for training come from Rows: any row is a function of (seed, number of the row), whatever the model and however
often the run was stopped. Some rows are recall tasks, made on the fly:

    copy     <|endoftext|> a b c ... a b c ...             loss on the second run of distinct tokens
    look-up  <|endoftext|> k v k v ... k' v' k' v' ...      every key again in another order, loss on its value
"""
import argparse
import glob
import json
import os
import re
import zlib
from pathlib import Path

import numpy as np
import torch

import dialogues

END, START_TURN, END_TURN = '<|endoftext|>', '<|im_start|>', '<|im_end|>'       # tokens 0, 1, 2
SPECIAL = [END, START_TURN, END_TURN]
FIRST_SYMBOL = 320                               # recall tasks use context / 2 tokens from here on: short frequent pieces
FREE = ('CC-BY', 'Public Domain')                # licences of picture books that may be used
LEFT_OUT = {'alice.txt', 'willows.txt'}          # books that serve for evaluation

# share of the text rows drawn from each source
SHARES = {'tinystories': 0.10, 'storybooks': 0.05, 'children_books': 0.20, 'templates': 0.30, 'self_dialogue': 0.27, 'topical_chat': 0.08}


def held_out(document, percent):
    return zlib.crc32(document.encode()) % 1000 < 10 * percent


def read(path):
    with open(path, encoding='utf8', errors='replace') as f:
        return f.read().replace('\r', '')


def tiny_stories(folder):
    text = read(f'{folder}/tinystories_sample/tinystories_sample.txt')
    return [t.strip() for t in text.split(END) if len(t.strip()) > 80]


COLLECTIONS = {'african_storybook_en': 'African Storybook', 'pratham_books_en': 'Pratham Books'}


def story_credits(folder, name):
    """title -> (licence, people) of one collection; a title that several stories have counts as the strictest of them."""
    credits = {}
    for line in open(f'{folder}/storybooks/{name}.attribution.tsv', encoding='utf8'):
        _, title, licence, *people = (field.strip() for field in line.split('\t'))
        if credits.get(title, (licence,))[0] in FREE:
            credits[title] = licence, '; '.join(p for p in people if p)
    return credits


def story_books(folder):
    """(story, its line of attribution) of the picture books; those under other licences than FREE are left out."""
    for name, collection in COLLECTIONS.items():
        credits = story_credits(folder, name)
        for text in read(f'{folder}/storybooks/{name}.txt').split(END):
            title = text.strip().split('\n')[0].strip()
            licence, people = credits.get(title, ('unknown', ''))
            if len(text) > 80 and licence in FREE:
                yield text.strip(), f'{collection}\t{title}\t{licence}\t{people}'


def children_books(folder):
    """Whole books (name, text), hard line breaks undone."""
    for path in sorted(glob.glob(f'{folder}/children_books/*.txt')):
        if os.path.basename(path) not in LEFT_OUT:
            text = re.sub(r'(?<!\n)\n(?!\n)', ' ', read(path))
            yield os.path.basename(path), re.sub(r'\n{3,}', '\n\n', re.sub(r'[ \t]+', ' ', text)).strip()


def gather(folder, templates, seed=0):
    """source -> {'train': documents, 'held': documents}; `templates`: dialogues written for training"""
    rng = np.random.default_rng(seed)
    def split(documents, percent=2.0, key=lambda d: d):
        return {'train': [d for d in documents if not held_out(key(d), percent)],
                'held': [d for d in documents if held_out(key(d), percent)]}
    sources = {'tinystories': split(tiny_stories(folder), 3.0), 'storybooks': split([story for story, _ in story_books(folder)], 3.0)}
    books = split(list(children_books(folder)), 3.0, key=lambda d: d[0])
    sources['children_books'] = {part: [text for _, text in books[part]] for part in books}
    for name in ('self_dialogue', 'topical_chat'):
        turns = dialogues.real(f'{folder}/dialogues/{name}.jsonl', rng)
        sources[name] = split([dialogues.chatml(t) for t in turns], 1.0)
    sources['templates'] = {}
    for part, count in (('train', templates), ('held', 200)):
        short = [s for name in ('tinystories', 'storybooks') for s in sources[name][part] if len(s) < 1600]
        sources['templates'][part] = [dialogues.chatml(t) for t in dialogues.from_templates(rng, short, count)]
    return sources


def byte_level(model):
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def tokenizer_of_gguf(path):
    """The tokenizer that export.py wrote into a model."""
    import gguf
    from tokenizers import models
    fields = gguf.GGUFReader(path).fields
    tokens, merges = (fields[f'tokenizer.ggml.{name}'].contents() for name in ('tokens', 'merges'))
    tokenizer = byte_level(models.BPE({t: i for i, t in enumerate(tokens)}, [tuple(m.split(' ')) for m in merges]))
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def train_tokenizer(texts, vocab):
    from tokenizers import models, pre_tokenizers, trainers
    tokenizer = byte_level(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=SPECIAL, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def build(folder, out, vocab, known, templates):
    """known: the file of a tokenizer that there is already, or None."""
    os.makedirs(out, exist_ok=True)
    sources = gather(folder, templates)
    if known:
        from tokenizers import Tokenizer
        tokenizer = tokenizer_of_gguf(known) if known.endswith('.gguf') else Tokenizer.from_file(known)
    else:
        tokenizer = train_tokenizer((d[:20000] for parts in sources.values() for d in parts['train'][:8000]), vocab)
    tokenizer.save(f'{out}/tokenizer.json')
    with open(f'{out}/attribution.tsv', 'w', encoding='utf8') as f:
        f.write('collection\ttitle\tlicence\tpeople\n')
        f.writelines(sorted(line + '\n' for _, line in story_books(folder)))
    table = {}
    for name, parts in sources.items():
        table[name] = {'share': SHARES[name]}
        for part, documents in parts.items():
            ids = [i for e in tokenizer.encode_batch(documents) for i in e.ids + [0]]
            np.array(ids, np.uint16).tofile(f'{out}/{name}.{part}.bin')
            if part == 'held':
                Path(f'{out}/{name}.held.txt').write_text('\n\n'.join(documents), encoding='utf8')
            table[name][part] = {'documents': len(documents), 'tokens': len(ids), 'bytes': sum(len(d.encode()) for d in documents)}
        t = table[name]['train']
        print(f"{name:15} share {SHARES[name]:.2f}  {t['documents']:6} documents {t['tokens']:9} tokens "
              f"{t['bytes'] / t['tokens']:.2f} bytes a token, held out {table[name]['held']['documents']} / {table[name]['held']['tokens']}", flush=True)
    with open(f'{out}/sources.json', 'w') as f:
        json.dump(table, f, indent=1)


def copy_task(rng, context, sizes, symbols=None):
    """Tokens [context + 1] and which of them are to be recalled; the sizes of the episodes add up to context / 2, and so
    does the number of symbols to choose from, unless told."""
    symbols = FIRST_SYMBOL + rng.permutation(symbols or context // 2)[:context // 2]
    tokens, asked = [np.zeros(1, np.int64)], [np.zeros(1, bool)]
    for part, size in zip(np.split(symbols, np.cumsum(sizes)[:-1]), sizes):
        tokens += [part, part]
        asked += [np.zeros(size + 1, bool), np.ones(size - 1, bool)]
    return np.concatenate(tokens), np.concatenate(asked)


def look_up_task(rng, context, sizes, symbols=None):
    """The same for pairs of a key and a value, each half of the symbols; here the sizes add up to context / 4."""
    count, keys = context // 4, (symbols or context // 2) // 2
    pairs = np.stack((rng.permutation(keys)[:count], keys + rng.integers(0, keys, count)), 1) + FIRST_SYMBOL
    tokens, asked = [np.zeros(1, np.int64)], [np.zeros(1, bool)]
    for part, size in zip(np.split(pairs, np.cumsum(sizes)[:-1]), sizes):
        tokens += [part.ravel(), rng.permutation(part).ravel()]
        asked += [np.zeros(2 * size, bool), np.tile([False, True], size)]
    return np.concatenate(tokens), np.concatenate(asked)


TASKS = {'copy': (copy_task, 2), 'look-up': (look_up_task, 4)}


def recall_row(rng, context, shortest=128):
    """A row of one kind of task: over all of it, or (what is learned first) blocks of a half, a quarter, ... of it, at
    least `shortest` tokens; each block one episode, or several of any size. Below 128 tokens a symbol that is a key in
    the blocks of one length would be a value in another's: then blocks of all lengths choose from the whole row's."""
    task, share = TASKS[('copy', 'look-up')[int(rng.integers(2))]]
    halvings = max(0, int(np.log2(context / shortest)))
    block = context >> int(rng.integers(halvings + 1))
    symbols = context // 2 if shortest < 128 else None
    parts = [task(rng, block, episode_sizes(rng, block // share), symbols) for _ in range(context // block)]
    return tuple(np.concatenate([p[i][:-1] if n + 1 < len(parts) else p[i] for n, p in enumerate(parts)]) for i in (0, 1))


def episode_sizes(rng, whole):
    """One episode over everything, or several of any order of magnitude."""
    sizes, left = [], whole
    while left:
        size = left if left == whole and rng.random() < 0.25 else min(left, int(2 ** rng.uniform(1, np.log2(whole))))
        sizes.append(size)
        left -= size
    return sizes


def to_tensors(rows, device):
    """[(tokens, asked)] -> inputs [B, T], targets [B, T] with -1 where nothing is asked."""
    tokens, asked = np.stack([r[0] for r in rows]), np.stack([r[1] for r in rows])
    targets = np.where(asked, tokens, -1)[:, 1:]
    return tuple(torch.from_numpy(np.ascontiguousarray(a, np.int64)).to(device) for a in (tokens[:, :-1], targets))


class Rows:
    """Rows of context + 1 tokens: `recall` of them recall tasks, the others text by the shares of the sources.
    early: another share for the first rows, and for how many tokens; shortest: see recall_row."""

    def __init__(self, folder, context, seed, recall, early=(0.0, 0.0), shortest=128):
        with open(f'{folder}/sources.json') as f:
            self.sources = json.load(f)
        self.names = list(self.sources)
        self.context, self.seed, self.recall, self.early, self.shortest = context, seed, recall, early, shortest
        self.train = {n: np.fromfile(f'{folder}/{n}.train.bin', np.uint16) for n in self.names}
        self.held = {n: np.fromfile(f'{folder}/{n}.held.bin', np.uint16) for n in self.names}
        self.starts = {n: np.concatenate(([0], np.flatnonzero(t == 0) + 1)) for n, t in self.train.items()}
        shares = np.array([self.sources[n]['share'] for n in self.names])
        self.shares = shares / shares.sum()

    def row(self, number):
        rng = np.random.default_rng((self.seed, number))
        if rng.random() < (self.early[0] if number * self.context < self.early[1] else self.recall):
            return recall_row(rng, self.context, self.shortest)
        name = self.names[int(rng.choice(len(self.names), p=self.shares))]
        tokens, starts, length = self.train[name], self.starts[name], self.context + 1
        at = int(rng.integers(0, len(tokens) - length))
        if rng.random() < 0.5:                                   # half of the rows begin with a document
            at = min(int(starts[np.searchsorted(starts, at) % len(starts)]), len(tokens) - length)
        return tokens[at:at + length].astype(np.int64), np.ones(length, bool)

    def batch(self, step, rows, device='cpu'):
        return to_tensors([self.row(step * rows + i) for i in range(rows)], device)

    def held_rows(self, count):
        """Up to `count` rows a source, evenly spread over its held-out text."""
        for name in self.names:
            tokens, length = self.held[name], self.context + 1
            n = min(count, (len(tokens) - 1) // self.context)
            for at in np.linspace(0, len(tokens) - length, n).astype(int) if n else []:
                yield name, (tokens[at:at + length].astype(np.int64), np.ones(length, bool))

    def recall_rows(self, count):
        """The fixed sets of recall tasks, one episode over the whole context each."""
        rng = np.random.default_rng(12345)
        for name, (task, share) in TASKS.items():
            for _ in range(count):
                yield name, task(rng, self.context, [self.context // share])


def main():
    p = argparse.ArgumentParser(description='texts -> tokenizer and token files')
    p.add_argument('texts')
    p.add_argument('out')
    p.add_argument('--vocab', type=int, default=4096)
    p.add_argument('--tokenizer', help='of an earlier folder or a GGUF file, for a model that is to be trained on')
    p.add_argument('--templates', type=int, default=40000, help='dialogues written from templates')
    a = p.parse_args()
    build(a.texts, a.out, a.vocab, a.tokenizer, a.templates)


if __name__ == '__main__':
    main()
