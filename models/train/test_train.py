"""python -m unittest discover models/train: what the other parts of the project rely on."""
import argparse
import json
import os
import sys
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, os.path.dirname(__file__))
import data
import dialogues
import export
import model
import train
import twins

VECTORS = Path(__file__).resolve().parents[2] / 'tests/vectors/clla'
TINY = model.Config(vocab=1024, width=64, layers=4, heads=1, kv_heads=1, ffn=64, context=64, rank=32, nope=48, rope=16)


def plain_quantizer(x, bits, group, symmetric):
    """The specification once more, in numpy float32."""
    half = lambda v: v.astype(np.float16).astype(np.float32)
    out = []
    for g in np.split(x, range(group, x.shape[-1], group), -1):
        if bits == 4 and not symmetric:
            low = half(g.min(-1, keepdims=True))
            scale = half((g.max(-1, keepdims=True) - g.min(-1, keepdims=True)) / np.float32(15))
            bounds = 0, 15
        else:
            low = np.float32(0)
            scale = half(np.abs(g).max(-1, keepdims=True) / np.float32(7 if bits == 4 else 127))
            bounds = (-8, 7) if bits == 4 else (-127, 127)
        inverse = np.where(scale > 0, np.float32(1) / np.where(scale > 0, scale, 1), 0).astype(np.float32)
        out.append(np.clip(np.rint((g - low) * inverse), *bounds) * scale + low)
    return np.concatenate(out, -1)


def unpacked(rows, bits, minimum):
    """16-bit numbers, or blocks of 32 channels as GGUF's Q4_0, Q4_1 and Q8_0 keep them."""
    if bits == 16:
        return np.frombuffer(rows, np.float16).astype(np.float32)
    size = (32 * bits // 8) + (4 if minimum else 2)
    out = []
    for block in np.frombuffer(rows, np.uint8).reshape(-1, size):
        scale, *low = block[:4 if minimum else 2].view(np.float16).astype(np.float32)
        codes = block[4 if minimum else 2:]
        if bits == 8:
            out.append(codes.view(np.int8).astype(np.float32) * scale)
        else:
            nibbles = np.concatenate((codes & 15, codes >> 4)).astype(np.float32)
            out.append(nibbles * scale + low[0] if minimum else (nibbles - np.float32(8)) * scale)
    return np.concatenate(out)


class Quantizer(unittest.TestCase):
    def test_bit_for_bit(self):
        torch.manual_seed(0)
        x = torch.randn(64, 64) * torch.exp(3 * torch.randn(64, 1))
        x[3] = 0
        for bits, group, symmetric in ((4, 32, True), (4, 32, False), (4, 64, True), (8, 32, True)):
            want = torch.from_numpy(plain_quantizer(x.numpy(), bits, group, symmetric))
            self.assertTrue(torch.equal(model.rounded(x, bits, group, symmetric), want), (bits, group, symmetric))

    def test_codes_are_those_that_the_engine_stores(self):
        """tests/c/test_clla.c holds the engine against the same file, byte for byte."""
        lines = (VECTORS / 'quantizer.txt').read_text().splitlines()
        for head, floats, stored in zip(lines[::3], lines[1::3], lines[2::3]):
            bits, group, minimum, channels = map(int, head.split())
            x = np.array([int(f, 16) for f in floats.split()], np.uint32).view(np.float32)
            self.assertEqual(len(x), channels)
            got = model.quantized(torch.from_numpy(x.copy()), bits, group, not minimum)
            want = torch.from_numpy(unpacked(bytes.fromhex(stored), bits, minimum)[:channels])
            self.assertTrue(torch.equal(got, want), head)

    def test_a_last_group_may_be_shorter(self):
        x = torch.randn(8, 48)
        self.assertTrue(torch.equal(model.rounded(x, 8, 32), torch.from_numpy(plain_quantizer(x.numpy(), 8, 32, True))))

    def test_half(self):
        x = torch.randn(100000) * torch.exp(6 * torch.randn(100000))
        self.assertTrue(torch.equal(model.to_half(x), x.clamp(-65504, 65504).half().float()))

    def test_gradient_passes(self):
        x = torch.randn(4, 32, requires_grad=True)
        model.rounded(x, 4, 32).square().sum().backward()
        self.assertTrue(torch.allclose(x.grad, 2 * model.rounded(x, 4, 32).detach()))


class Attention(unittest.TestCase):
    def test_kinds_have_equal_sizes(self):
        base = replace(TINY, width=128, heads=2, kv_heads=2, ffn=256)
        count = model.parameters(model.preset('mha', base))
        for kind in ('gqa', 'mla', 'clla', 'clla-int4'):
            c = model.match_ffn(model.preset(kind, base), count)
            self.assertLess(abs(model.parameters(c) / count - 1), 0.02, kind)

    def test_a_token_sees_the_past_only_and_a_window_of_it(self):
        for c, first_unseen in ((model.preset('clla-int4', TINY), 0), (replace(model.preset('mha', TINY), window=8), 29)):
            m = model.Model(c).eval()
            tokens = torch.randint(0, 1024, (1, 64))
            before = m.logits(tokens)
            later, early = tokens.clone(), tokens.clone()
            later[0, 40:] = 7
            early[0, 0] = (early[0, 0] + 1) % 1024
            self.assertTrue(torch.allclose(m.logits(later)[0, :40], before[0, :40], atol=1e-5))
            if first_unseen:                              # 4 layers of a window of 8 reach 28 tokens back
                self.assertTrue(torch.allclose(m.logits(early)[0, first_unseen:], before[0, first_unseen:], atol=1e-5))

    def test_cache_bytes(self):
        c = model.preset('clla-int4', replace(TINY, rank=64))
        self.assertEqual(model.cache_bytes(c), 2 * (32 + 4 + 16 + 2))       # two owners: codes, scales, rope key, its scale
        self.assertEqual(model.cache_bytes(model.preset('mha', TINY)), 4 * 4 * 64)

    def test_cache_bytes_are_the_engines(self):
        for path in twins.HERE.glob('results/*/*.json'):
            run = json.loads(path.read_text())
            if 'engine' in run:
                c = twins.kinds(twins.TABLES[path.parent.name])[run['name']]
                self.assertEqual(model.cache_bytes(c), run['engine']['bytes_per_token'], path)


class Tables(unittest.TestCase):
    def test_losses_are_the_means_of_their_sources(self):
        for path in twins.HERE.glob('results/*/*-?.json'):
            with self.subTest(path.name):
                run = json.loads(path.read_text())
                shares = run['texts']['shares']
                self.assertAlmostEqual(sum(shares[n] * run['sources'][n] for n in shares) / sum(shares.values()), run['loss'], 4)

    def test_runs_over_other_texts_do_not_come_into_a_table(self):
        with tempfile.TemporaryDirectory() as data:
            Path(data, 'sources.json').write_text('{}')
            with self.assertRaisesRegex(SystemExit, 'holds other texts'):
                twins.check_texts(argparse.Namespace(table='full', data=data))

    def test_texts_that_count_as_alike_are_those_of_a_table(self):
        digests = {run['texts']['sha256'] for table in twins.TABLES for runs in twins.results(table).values() for run in runs}
        self.assertLessEqual(set(twins.ALIKE.values()), digests)


class Templates(unittest.TestCase):
    def test_of_names_that_come_as_often_a_story_is_about_the_first(self):
        names = 'Tom Ben Lily Sue Kyle Amma Jack Rose'.split()
        story = ' '.join(f'so {name} ran.' for name in names * 3)
        rng = np.random.default_rng(0)
        subjects = {dialogues.subject_of(rng, story) for _ in range(50)}
        self.assertEqual(subjects, {'Tom', None})


class Recall(unittest.TestCase):
    def test_every_asked_token_has_one_answer_in_the_row(self):
        rng = np.random.default_rng(1)
        for _ in range(50):
            tokens, asked = data.copy_task(rng, 64, data.episode_sizes(rng, 32))
            for i in np.flatnonzero(asked):
                earlier = [j for j in range(i - 1) if tokens[j] == tokens[i - 1]]
                self.assertEqual([tokens[j + 1] for j in earlier], [tokens[i]])
            tokens, asked = data.look_up_task(rng, 64, data.episode_sizes(rng, 16))
            for i in np.flatnonzero(asked):
                self.assertEqual({tokens[j + 1] for j in range(1, i - 1) if tokens[j] == tokens[i - 1]}, {tokens[i]})

    def test_rows_have_the_length_of_the_context(self):
        rng = np.random.default_rng(1)
        for context in (128, 256, 512):
            for _ in range(20):
                tokens, asked = data.recall_row(rng, context)
                self.assertEqual((len(tokens), len(asked)), (context + 1, context + 1))

    def test_short_blocks_take_keys_and_values_from_the_same_halves_as_the_whole_row(self):
        rng = np.random.default_rng(1)
        keys, values = range(data.FIRST_SYMBOL, data.FIRST_SYMBOL + 64), range(data.FIRST_SYMBOL + 64, data.FIRST_SYMBOL + 128)
        shortest = 256
        for _ in range(200):
            tokens, asked = data.recall_row(rng, 256, shortest=32)
            self.assertEqual((len(tokens), len(asked)), (257, 257))
            self.assertTrue(all(t in keys or t in values for t in tokens[1:] if t))
            starts = [*np.flatnonzero(tokens == 0), 256]
            shortest = min(shortest, *np.diff(starts))
            if not asked[1::2].any():                            # look-up: values are asked, and stand at even places
                self.assertTrue(all(t in values for t in tokens[asked]))
        self.assertEqual(shortest, 32)


class Loop(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = scratch.name
        rng = np.random.default_rng(0)
        for part in ('train', 'held'):
            rng.integers(0, 1024, 5000).astype(np.uint16).tofile(f'{self.folder}/noise.{part}.bin')
        with open(f'{self.folder}/sources.json', 'w') as f:
            json.dump({'noise': {'share': 1.0}}, f)
        model.preset('clla-int4', TINY).save(f'{self.folder}/c.json')

    def train(self, out, *arguments):
        """The state at the end. TINY and two rows a step: 128 tokens."""
        with open(os.devnull, 'w') as nowhere:
            printed, sys.stdout = sys.stdout, nowhere
            try:
                train.main([f'{self.folder}/{out}', '--config', f'{self.folder}/c.json', '--data', self.folder, '--tokens', '2560',
                            '--batch', '2', '--warm-up', '512', '--optimizer', 'muon', '--evaluate', '2560', '--held-rows', '2',
                            '--device', 'cpu', '--no-compile', *arguments])
            finally:
                sys.stdout = printed
        return torch.load(f'{self.folder}/{out}/last.pt', weights_only=True)

    def test_a_stopped_run_resumes_as_if_it_had_not_stopped(self):
        whole = self.train('whole')
        self.assertEqual(self.train('parts', '--stop-after', '0')['step'], 1)
        parts = self.train('parts', '--resume')
        self.assertEqual(parts['step'], 20)
        for name, value in whole['model'].items():
            self.assertTrue(torch.equal(value, parts['model'][name]), name)

    def test_a_finished_run_goes_on_with_more_tokens(self):
        before = self.train('more')['model']
        after = self.train('more', '--resume', '--tokens', '3840')
        with open(f'{self.folder}/more/log.jsonl') as f:
            log = [json.loads(line) for line in f]
        self.assertEqual([e['begin'] for e in log if 'begin' in e], [0, 20])
        self.assertEqual((after['step'], after['tokens']), (30, 3840))
        self.assertLess(next(e['lr'] for e in log if 'lr' in e), 0.001)         # of step 20: the rate had fallen
        moved = sum((after['model'][name] - before[name]).abs().sum().item() for name in before)
        self.assertGreater(moved, 1.0)

    def test_a_run_starts_from_an_exported_file(self):
        text = 'A cat sat on the mat. Was it a happy cat? It was: the mat was warm. ' * 20
        tokenizer = data.train_tokenizer([text], 320)
        tokenizer.save(f'{self.folder}/tokenizer.json')
        before, file = self.train('before'), f'{self.folder}/before.gguf'
        export.export(f'{self.folder}/before', self.folder, file, 'f32')
        for name, value in export.state_of(file, model.preset('clla-int4', TINY)).items():
            self.assertTrue(torch.equal(value, before['model'][name]), name)
        after = self.train('after', '--start', file, '--seen', '2560', '--tokens', '2688', '--lr', '1e-9')
        self.assertEqual((after['step'], after['tokens']), (21, 2688))
        for name, value in after['model'].items():
            self.assertTrue(torch.allclose(value, before['model'][name], atol=1e-6), name)
        for line in (text, '<|im_start|>user\nIt was 3 o\u2019clock.<|im_end|>\n'):
            self.assertEqual(data.tokenizer_of_gguf(file).encode(line).ids, tokenizer.encode(line).ids)

    def test_the_rate_warms_up_where_the_run_began(self):
        a = train.arguments(['', '--config', '', '--data', '', '--tokens', '40e6', '--seen', '10e6', '--warm-up', '1e6'])
        self.assertEqual([train.learning_rate(a, t) for t in (10e6, 10.5e6, 11e6, 30e6, 35e6)], [0, 0.5, 1, 1, 0.5])


if __name__ == '__main__':
    unittest.main()
