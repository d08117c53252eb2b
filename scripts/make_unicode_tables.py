#!/usr/bin/env python3
"""Write src/unicode_tables.inc: what the tokenizers need of the Unicode character database, compactly.

    python3 scripts/make_unicode_tables.py > src/unicode_tables.inc
    python3 scripts/make_unicode_tables.py --checksums       # what tests/c/test_unicode.c compares with

Three tables, all from Python's unicodedata (its Unicode version is written into the file):

  classes   Code points in runs of one class. A stretch that alternates upper, lower, upper, lower, as large parts of
            Latin and Cyrillic do, is one run of class EVEN_UPPER or ODD_UPPER. Starts are 16 bits; a directory tells
            where each plane of 65,536 begins. ASCII has a list of its own, for speed.
  lower     Simple lower-case mapping as ranges: first, last, stride (1 or 2) and the difference, modulo 65,536.
  bare      What is left of a character after canonical decomposition when its nonspacing marks (Mn) are dropped:
            runs of consecutive code points and one 16-bit result each; results that are longer or beyond the first
            plane are indices, from 0xD800 on (no character lives there), into a list of their own.
"""

import sys
import unicodedata as ucd

LAST = 0x110000
CLASSES = ["OTHER", "LU", "LL", "LT", "LM", "LO", "MN", "MC", "N", "P", "S", "EVEN_UPPER", "ODD_UPPER"]


def class_of(c):
    kind = ucd.category(chr(c)).upper()
    if kind in ("LU", "LL", "LT", "LM", "LO", "MN"):
        return kind
    if kind in ("MC", "ME"):
        return "MC"
    return kind[0] if kind[0] in "NPS" else "OTHER"


def class_runs():
    """[(first code point, class)], with alternating stretches folded and a fresh run at every plane."""
    kinds = [class_of(c) for c in range(LAST)]
    runs, i = [], 0
    while i < LAST:
        end = (i | 0xFFFF) + 1
        j = i
        while j + 1 < end and {kinds[j], kinds[j + 1]} == {"LU", "LL"}:
            j += 1
        if j + 1 < end and kinds[j + 1] == kinds[j]:
            j -= 1  # the last one belongs to the plain run that follows
        if j - i >= 3:
            runs.append((i, "EVEN_UPPER" if (i % 2 == 0) == (kinds[i] == "LU") else "ODD_UPPER"))
            i = j + 1
            continue
        j = i
        while j + 1 < end and kinds[j + 1] == kinds[i]:
            j += 1
        runs.append((i, kinds[i]))
        i = j + 1
    return runs


def lower_ranges():
    """[(first, last, stride, difference)]; U+0130 keeps its simple mapping, 'i'."""
    ranges = []
    for c in range(128, LAST):
        low = chr(c).lower()
        d = ord(low[0]) - c
        if d == 0:
            continue
        if ranges:
            first, last, stride, difference = ranges[-1]
            step = c - last
            if difference == d and step in (1, 2) and stride in (0, step):
                ranges[-1] = (first, c, step, d)
                continue
        ranges.append((c, c, 0, d))
    return ranges


def bare_form(c):
    return [ord(x) for x in ucd.normalize("NFD", chr(c)) if ucd.category(x) != "Mn"]


def bare_runs():
    """(runs [(first, index of first result)], results, longer) without Hangul, which is arithmetic."""
    runs, results, longer, previous = [], [], [], None
    for c in range(128, LAST):
        if 0xAC00 <= c <= 0xD7A3 or 0xD800 <= c < 0xE000 or ucd.category(chr(c)) == "Mn":
            continue
        form = bare_form(c)
        if form == [c]:
            continue
        if c - 1 != previous:
            runs.append((c, len(results)))
        if len(form) == 1 and form[0] < 0x10000:
            results.append(form[0])
        else:
            assert 1 <= len(form) <= 3
            results.append(0xD800 + len(longer))
            longer.append((form + [0, 0])[:3])
        previous = c
    assert len(longer) < 0x800
    return runs, results, longer


def array(declaration, values, width=110):
    lines, line = [], "   "
    for v in values:
        item = " " + v + ","
        if len(line) + len(item) > width:
            lines.append(line)
            line = "   "
        line += item
    print(f"static const {declaration} = {{\n" + "\n".join(lines + [line]) + "\n};\n")


def main():
    print(
        "/* unicode_tables.inc: made by scripts/make_unicode_tables.py from Unicode "
        f"{ucd.unidata_version}; do not edit. Included by unicode.c only. */\n"
    )
    runs = class_runs()
    print("enum { " + ", ".join("CLASS_" + k for k in CLASSES) + " };\n")
    array("uint8_t ascii_class[128]", [str(CLASSES.index(class_of(c))) for c in range(128)])
    array("uint16_t class_starts[]", [str(c & 0xFFFF) for c, _ in runs])
    numbers = [CLASSES.index(k) for _, k in runs] + [0]
    array("uint8_t class_pairs[]", [str(numbers[i] | numbers[i + 1] << 4) for i in range(0, len(runs), 2)])
    planes = [sum(c < p << 16 for c, _ in runs) for p in range(18)]
    array("uint16_t class_planes[18]", [str(p) for p in planes])
    ranges = lower_ranges()
    array(
        "struct { uint32_t first; uint16_t span_stride; uint16_t difference; } lower_ranges[]",
        [f"{{{f}, {(l - f) << 1 | (s == 2)}, {d & 0xFFFF}}}" for f, l, s, d in ranges],
    )
    runs, results, longer = bare_runs()
    # a run's first code point and the index of its first result, in 21 + 11 bits
    assert len(results) < 1 << 11
    array("uint32_t bare_runs[]", [str(c << 11 | i) for c, i in runs])
    array("uint16_t bare_results[]", [str(r) for r in results])
    array("uint32_t bare_longer[][3]", [f"{{{a}, {b}, {c}}}" for a, b, c in longer])


def checksums():
    """FNV-like sums over all characters of class, lower case and bare form, from the database alone."""
    order = ["OTHER", "LU", "LL", "LT", "LM", "LO", "MN", "MC", "N", "P", "S"]
    sums = {"classes": 0, "lower": 0, "bare": 0}

    def add(name, value):
        sums[name] = (sums[name] ^ value) * 16777619 & 0xFFFFFFFF

    for c in range(LAST):
        if 0xD800 <= c < 0xE000:
            continue
        add("classes", 1 << order.index(class_of(c)))
        add("lower", ord(chr(c).lower()[0]))
        form = bare_form(c)
        add("bare", len(form))
        for x in form:
            add("bare", x)
    print(" ".join(f"{name} {value:#x}" for name, value in sums.items()))


if "--checksums" in sys.argv:
    checksums()
else:
    main()
