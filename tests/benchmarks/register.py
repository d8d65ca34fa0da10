"""The set that docs/retrieval.md trains a retriever on. `python tests/benchmarks/register.py
FOLDER` writes it, the same each time.

The register of an island that does not exist, written for this purpose and in the public domain
(CC0): 60 people, of each six facts, a passage each. A fact of a kind is said in two ways and asked
in three, mostly in other words; and all six passages of a person have the person's name. So a
question's name says whose passages fit, and not which of them: that is what there is to learn.

    register.fk        the program
    register.md        360 passages
    learn.jsonl        a question about each fact of 40 people: 240
    people.jsonl       questions about the other 20 people, asked in the same ways: 58
    phrasings.jsonl    questions about the same facts, asked in two further ways: 58
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

FIRST = (
    "Edda Jonas Mirren Tam Orla Ivo Sunna Bram Kesia Lorn Petra Hugo Wilma Anders Nessa Fitz Greta "
    "Olaf Tilda Rurik Maeve Colm Dagny Silas Hanne Wren Torvald Isla Magnus Freya"
)
LAST = (
    "Lund Field Harrow Skerry Moor Voss Tarn Holm Brandt Quill Sayle Thorne Pike Rowe Strand Marsh "
    "Keel Birch Dale Finch"
)
FACTS = (
    # how passages say it; how questions ask; how questions of phrasings.jsonl ask; the values
    (
        ("{n} is the {v} of the parish.", "Since the spring {n} has worked as a {v}."),
        ("What does {n} do for a living?", "How does {n} earn money?", "What is the job of {n}?"),
        ("Which profession has {n} taken up?", "What trade is {n} in?"),
        "cooper baker weaver tanner blacksmith thatcher potter chandler carpenter miller glover "
        "tailor surgeon mason",
    ),
    (
        ("{n} was born in {v}.", "The cradle of {n} stood in {v}."),
        ("Where does {n} come from?", "Which place is home to {n}?", "Where did {n} grow up?"),
        ("What is the native town of {n}?", "From where did {n} arrive?"),
        "Norway Denmark Cornwall Brittany Ireland Iceland Holland Portugal Wales Scotland Finland "
        "Galicia",
    ),
    (
        ("{n} keeps a {v} in the yard.", "A {v} follows {n} everywhere."),
        ("Which animal does {n} own?", "What pet has {n} got?", "What creature belongs to {n}?"),
        ("Which beast lives with {n}?", "What does {n} feed each morning?"),
        "goat cat dog goose pony donkey raven rabbit sheep pig cow hen",
    ),
    (
        ("{n} plays the {v} at weddings.", "On Sundays {n} practises the {v}."),
        (
            "Which instrument does {n} know?",
            "What music does {n} make?",
            "On what does {n} perform?",
        ),
        ("What does {n} play in the band?", "Which sound comes from the house of {n}?"),
        "fiddle flute harp drum organ trumpet piano bagpipes accordion guitar horn cello",
    ),
    (
        ("{n} will not eat {v}.", "A plate of {v} makes {n} leave the table."),
        ("What food does {n} dislike?", "Which dish does {n} refuse?", "What can {n} not stomach?"),
        ("What should a cook not serve to {n}?", "Which taste does {n} hate?"),
        "herring onions cabbage cheese eggs mutton turnips mushrooms eels porridge beans liver",
    ),
    (
        ("{n} fears nothing but {v}.", "At night {n} dreams of {v} and wakes up shouting."),
        ("What is {n} afraid of?", "What scares {n}?", "Which thing frightens {n}?"),
        ("What terror haunts {n}?", "What makes {n} tremble?"),
        "spiders thunder ghosts storms snakes wolves fire darkness rats bees heights witches",
    ),
)  # fmt: skip
ASKED = 40
"""People who are asked about in learn.jsonl."""
PROGRAM = """model "smollm2"

index register = "register.md" with ranking="dense"

program answer(question: str = "What scares Tam Keel?", answer: str = " fire") -> str:
    d ~ retrieve(register, question, k=5, temperature=0.05)
    lm = prompt(f"{d.text}\\nQuestion: {question}\\nAnswer in one word:")
    observe answer ~ lm
    return f"{d.source}:{d.line}"
"""


def main(folder: Path) -> None:
    rng = random.Random(0)
    people = rng.sample([f"{a} {b}" for a in FIRST.split() for b in LAST.split()], 60)
    passages, files = [], {"learn": [], "people": [], "phrasings": []}
    for number, name in enumerate(people):
        for says, asks, others, values in FACTS:
            value = rng.choice(values.split())
            text = rng.choice(says).format(n=name, v=value)
            passages.append(text)

            def line(phrasings, text=text, value=value, name=name):
                question = rng.choice(phrasings).format(n=name)
                return {"question": question, "answer": f" {value}", "evidence": text}

            if number < ASKED:
                files["learn"].append(line(asks))
            elif rng.random() < 0.5:
                files["people"].append(line(asks))
                files["phrasings"].append(line(others))
    rng.shuffle(passages)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "register.fk").write_text(PROGRAM)
    (folder / "register.md").write_text("\n\n".join(passages) + "\n")
    for file, lines in files.items():
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{file}.jsonl").write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
