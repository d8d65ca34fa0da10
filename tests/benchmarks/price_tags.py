"""How often a held-out price tag is read right: by greedy decoding, by greedy decoding among what
the pattern of programs/price_tag.fk allows, and by the likeliest answer of the program's posterior.

    python tests/benchmarks/price_tags.py [MODEL] [COUNT]

The tags end on 00, 50, 95 or 99, which the program knows and the model does not. Needs Pillow, and
the fonts that the model was trained on where they are installed.
"""

import sys
from io import BytesIO

import numpy as np
from PIL import Image

import fkdsl
from fkdsl.models.attachments import Attachment
from fkdsl.models.interface import ForwardRow
from fkdsl.models.registry import load_model
from fkdsl.models.tiny.transformer import END
from fkdsl.models.tiny.vision.fonts import find_fonts
from fkdsl.models.tiny.vision.rendering import is_held_out, render_text

CENTS = ("00", "50", "95", "99")
ALLOWED = [f"{c}{w}.{e}".encode() for c in "$£€" for w in range(1000) for e in CENTS]
PREFIXES = {}
for text in ALLOWED:
    for k in range(len(text)):
        PREFIXES.setdefault(text[:k], set()).add(text[k])
    PREFIXES.setdefault(text, set()).add(END)


def tags(count, noise, fonts, seed=7):
    """(text, attachment) of held-out price tags."""
    found = []
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        while True:
            whole = int(np.exp(rng.random() * np.log(1000)))
            text = f"{rng.choice(list('$£€'))}{whole}.{rng.choice(CENTS)}"
            if is_held_out(text):
                break
        pixels = render_text(rng, text, "price", fonts, noise).pixels
        file = BytesIO()
        Image.fromarray(pixels).save(file, format="PNG")
        found.append((text, Attachment("image", file.getvalue())))
    return found


def greedy(model, text, image):
    """(whether greedy decoding writes the text; whether it does among what the pattern allows): a
    greedy decoder writes a text if each of its symbols is the likeliest after those before it."""
    prompt, raw = model.start_with((image, "priced at ")), text.encode()
    tokens, first = (*prompt, *raw), len(prompt) - 1
    (result,) = model.forward([ForwardRow(None, tokens, tuple(range(first, len(tokens))))])
    free = masked = True
    for k, aim in enumerate((*raw, END)):
        row = result.log_probs[k]
        free &= int(row.argmax()) == aim
        masked &= max(PREFIXES[raw[:k]], key=lambda i, row=row: row[i]) == aim
    return free, masked


def main():
    model = load_model(sys.argv[1] if len(sys.argv) > 1 else "tiny-vision")
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    program = fkdsl.load("programs/price_tag.fk")
    fonts = find_fonts()
    heading = f"right, of {count} held-out tags"
    print(f"{heading}    greedy  greedy, masked  posterior    on the truth")
    for noise in (0.0, 0.5, 1.0):
        right = np.zeros(3)
        mass = 0.0
        for i, (text, image) in enumerate(tags(count, noise, fonts)):
            result = program(photo=image.content).run("smc", particles=32, model=model, seed=i)
            best = max(result.posterior, key=lambda a: a.probability).value
            right += (*greedy(model, text, image), best == text)
            mass += result.probability(text)
        row = [f"{100 * r / count:.0f} %" for r in (*right, mass)]
        shown = "{:>10}{:>16}{:>11}{:>16}".format(*row)
        print(f"{f'noise {noise:g}':<{len(heading)}}{shown}", flush=True)


if __name__ == "__main__":
    main()
