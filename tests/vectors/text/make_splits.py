#!/usr/bin/env python3
"""Write splits.txt: how the published splitting rules cut some texts, by an independent implementation.

    pip install tokenizers==0.23.3 && python3 tests/vectors/text/make_splits.py > tests/vectors/text/splits.txt

The rules are the regular expressions of the models' tokenizer.json files, run by the tokenizers library (Oniguruma).
The texts are random, from a fixed seed: letters of many scripts, digits, marks, white space in runs.

Lines: "text HEX" for each text, then "NAME LENGTH LENGTH ..." with the bytes of each word: for each rule set, in the order
of the texts, one line.
"""

import random
import unicodedata

from tokenizers import Regex, pre_tokenizers

TEXTS = 60


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


DIGITS = pre_tokenizers.Digits(True)
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def cl100k(n):
    return (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
        + n
        + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


SUF = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"


def o200k(s, n):
    return (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
        + s
        + r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
        + s
        + "|"
        + n
        + r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


# deepseek-llm: its letters, one by one
DSL = "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿ\u0386\u0388-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u1f7dᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
DEEPSEEK3 = r"[!\"#$%%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+%s|\s+(?!\S)|\s+"
CASCADE = "".join(r"|\s{%d}(?!\S)" % (1 << k) for k in range(9, 1, -1)) + r"|\s{1,2}(?!\S)|\s{1}"
RULES = {
    "gpt-2": [GPT2],
    "smollm": [DIGITS, GPT2],
    "starcoder": [r"\p{N}", GPT2],
    "llama-bpe": [cl100k(r"\p{N}{1,3}")],
    "qwen2": [cl100k(r"\p{N}")],
    "bailingmoe": [
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
    ],
    "qwen35": [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ],
    "minicpm5": [r"\p{N}{1,3}", cl100k(r"\p{N}+")],
    "jais-2": [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        + CASCADE
    ],
    "ufakzeka": [r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
    "seed-coder": [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
    ],
    "gpt-4o": [o200k(SUF, r"\p{N}{1,3}")],
    "tekken": [o200k("", r"\p{N}")],
    "youtu": ["[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+", o200k(SUF, r"\p{N}")],
    "deepseek-llm": [
        "[\r\n]",
        r"\s?[" + DSL + "]+",
        r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
        r"\s+$",
        "[一-龥ࠀ-一가-퟿]+",
        DIGITS,
    ],
    "deepseek-coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", DIGITS],
    "deepseek-v3": [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3 % r"[\r\n]*|\s*[\r\n]+"],
    "spark2_5": [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3 % r"|[\r\n]", r"\p{N}"],
    "bloom": [r" ?[^(\s|.,!?…。，、।۔،)]+"],
    "viking": [r" ?[^(\s|.,!?…。，、।۔،)]+", r"\p{N}"],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
}

COMMON = "ſabcdzABCXYZ sStTrReEvVmMlLdD'''    \n\r\t0123456789.,!?-_/()|+=<>^~`$#\u3000\u00a0\u2003\u0301\u0308éÉßǅʰ中文字か카カ가ㄅ，。…—：；、“”‘’।۔،½²Ⅷ٣\u200b\u200d🚀😶\u0e01\u0bbe\u0903\u1f1aᾈ\u2028\x85"


def rare(random_):
    while True:
        c = random_.randrange(1, 0x110000)
        if unicodedata.category(chr(c)) not in ("Cn", "Co", "Cs"):
            return chr(c)


def text(random_):
    kind, n = random_.random(), random_.choice([1, 2, 3, 5, 8, 13, 30, 60])
    if kind < 0.5:
        return "".join(random_.choice(COMMON) for _ in range(n))
    if kind < 0.7:
        return "".join(random_.choice(COMMON) if random_.random() < 0.6 else rare(random_) for _ in range(n))
    if kind < 0.85:
        return "".join(random_.choice(COMMON) * random_.choice([1, 1, 2, 3, 4, 7]) for _ in range(n // 2 + 1))
    return "".join(
        random_.choice(" \n\t\u3000'sSaA1") * random_.choice([1, 1, 2, 5, 30, 130]) for _ in range(n % 9 + 1)
    )


def main():
    random_ = random.Random(2026)
    texts = [text(random_) for _ in range(TEXTS)]
    for t in texts:
        print("text", t.encode().hex())
    for name, patterns in RULES.items():
        cut = pre_tokenizers.Sequence([split(p) if isinstance(p, str) else p for p in patterns])
        for t in texts:
            print(name, *(len(word.encode()) for word, _ in cut.pre_tokenize_str(t)))


main()
