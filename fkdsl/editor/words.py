"""What the words of the language mean, in a line each, for editors."""

from __future__ import annotations

WORDS: dict[str, str] = {
    "model": "Declares the model: an alias, hub id, folder or file, a view `bytes(...)`, or a "
    'table; `with engine="llamacpp"` behind a reference has another library compute it.',
    "import": 'Brings in the functions and named models of another file: `import "words.fk"`.',
    "index": 'Declares files that documents are retrieved from: `index notes = "notes/*.md"`.',
    "extern": "Declares a function of Python; refused unless run with `--allow-extern`.",
    "program": "What is run: its value is what the posterior is over.",
    "infer": "The inference method of this file's runs, and its options.",
    "query": "A posterior expectation over `value`, which every run prints.",
    "test": "What must hold of the program's exact figures; `fkdsl test` checks it.",
    "def": "A function. With `~` or a weighing line in it, it is stochastic and called by `~`.",
    "if": "A branch; its test is a bool.",
    "elif": "Another branch, where the tests before it fail.",
    "else": "What happens where the tests before it fail.",
    "for": "A loop over a list, a text or a record's names.",
    "while": "A loop as long as its test holds.",
    "in": "Whether something is in a list, or a text in a text; also of `for`.",
    "and": "Both hold.",
    "or": "One of them holds.",
    "not": "It does not hold.",
    "break": "Ends the loop.",
    "continue": "Goes on with the loop's next round.",
    "pass": "Does nothing.",
    "return": "The function's value; a program's is what the posterior is over.",
    "observe": "`observe e ~ d` multiplies the weight by d's probability of e. On a context, it "
    "appends e.",
    "condition": "Weight 0 unless it holds: the particle dies at once.",
    "factor": "Adds nats to the log weight.",
    "twist": "Adds nats to the log weight until the next twist, or the program's end.",
    "checkpoint": "A step ends here: the program chooses its own steps.",
    "expect": "A truth about the exact figures: P(...), E(...), Z, log_Z, support.",
    "true": "The truth value true.",
    "false": "The truth value false.",
    "none": "No value.",
    "EOS": "The token that ends a text; it equals any such token.",
    "table": "A tiny n-gram model: the longest row that is a suffix of the text so far applies.",
    "from": "The Python file of an `extern def`.",
    "with": "A test's settings (`model=` a table, `program=`, parameters); an index's options.",
}
"""Every word of the lexer's, with what it means."""
TILDE = (
    "`x ~ d` draws a latent: from a distribution, a context, or a call of a stochastic function. "
    "Every `~` is one step t."
)
TYPES: dict[str, str] = {
    "bool": "A truth value, true or false.",
    "int": "A whole number.",
    "float": "A number with a point.",
    "str": "A text.",
    "token": "A token of a model; it stands for its text.",
    "context": "A text in the making, and the model that writes it: the distribution of its next "
    "token.",
    "record": 'Named values: `{"name": value}`.',
    "document": "A passage that was retrieved: its `text`, `source`, `line` and `score`.",
    "image": 'An image for the prompt of a model with eyes: `image("cat.png")`.',
    "index": "Files that documents are retrieved from: the name of an `index` line.",
    "mark": "A special token of a tokenizer, by its name: `special(...)`.",
    "list": "`list[T]`: values of one type.",
    "dist": "`dist[T]`: a distribution over values of type T.",
}
"""Every type that a program can write."""
ATTRIBUTES: dict[str, str] = {
    "text": "The context's text after its prompt.",
    "tokens": "The number of tokens after its prompt.",
    "done": "Whether the text has ended (EOS was drawn).",
}
"""Those of a context."""
FIELDS: dict[str, str] = {
    "text": "The passage's text.",
    "source": "Its file, relative to the program's folder.",
    "line": "The line of the file that it begins at; of a database, the row.",
    "score": "How well it fits the query; higher is better.",
}
"""Those of a document."""
FIGURES: dict[str, str] = {
    "P": "`P(event)`: the posterior probability of an event of `value`.",
    "E": "`E(number)`: the posterior mean of a number of `value`.",
    "Z": "The program's normalising constant: the expected weight of a run.",
    "log_Z": "The logarithm of Z, in nats.",
    "support": "The values that the program may return, as a list.",
    "value": "What the program returns.",
    "quantile": "`quantile(number, level)`: the posterior quantile at a level between 0 and 1.",
    "median": "`median(number)`: the posterior median.",
}
"""What tests and queries know besides functions."""
