"""Adds to embeddings.json what llama.cpp cannot give: embeddings in double precision ("exact"), and those of architecture `clla`.

    python3 embeddings.py [SmolLM2-135M-Instruct.Q4_1.gguf]        (after embeddings.mjs)

Prints how far llama.cpp is from them: 1 - cosine, and |difference| / |exact|.
"""
import importlib.util
import json
import sys

import numpy as np

import reference

FOLDER = reference.FOLDER
LATENT = ["mla", "pairs", "late", "sinks", "low-rank-query"]
TEXT = "A heron."


def latent_reference():
    spec = importlib.util.spec_from_file_location("latent_reference", FOLDER / "clla/reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pooled(states):
    return {"mean": rounded(states.mean(axis=0)), "last": rounded(states[-1])}


def rounded(values):
    return [float(f"{x:.6g}") for x in values]


def apart(a, b):
    a, b = np.array(a), np.array(b)
    return 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b), np.linalg.norm(a - b) / np.linalg.norm(b)


def latent_case(latent, name):
    """A vocabulary of bytes behind three control tokens, where a space is U+2581; a cache of halves."""
    ids = [1, *(3 + byte for byte in TEXT.replace(" ", "\u2581").encode())]
    states, _ = latent.run_hidden(latent.Model(FOLDER / f"clla/models/{name}.gguf", halves=True), ids)
    return {"name": f"clla-{name}", "file": f"clla/models/{name}.gguf", "context": 256, "kv": "f16", "text": TEXT, "ids": ids,
            "exact": pooled(states)}


def main():
    path, latent = FOLDER / "embeddings.json", latent_reference()
    golden = json.loads(path.read_text())
    cases = [case for case in golden["cases"] if not case["name"].startswith("clla-")]
    for case in cases:
        file = FOLDER / case["file"] if case["file"] else sys.argv[1] if sys.argv[1:] else None
        if file is None:
            continue
        states = reference.hidden_states(reference.Model(file), case["ids"], case["context"])
        case["exact"] = pooled(states)
        for kind, values in case["exact"].items():
            print(f"{case['name']:22} {kind}  1 - cosine %.2e  relative %.2e" % apart(case["llama"][kind], values))
    cases += [latent_case(latent, name) for name in LATENT]
    lines = ",\n".join("  " + json.dumps(case, separators=(",", ":")) for case in cases)
    path.write_text(f'{{\n "source": {json.dumps(golden["source"])},\n "cases": [\n{lines}\n ]\n}}\n')


if __name__ == "__main__":
    main()
