"""Programs to begin with (`fkdsl new`): each with a test on a table of its own."""

TEMPLATES = {
    "constraint": "a sentence with a keyword, without a forbidden word, not too long",
    "json": "a record that fits a schema, with a condition across its fields",
    "classify": "a class for a text, with calibrated probabilities and none of these",
    "infill": "a gap filled so that the text goes on as given",
    "judge": "an answer that a judge likes",
    "poem": "an acrostic: initials, words and syllables",
    "table": "a program on a table of probabilities, with exact tests",
}
"""What each does, by its name: NAME.fk beside this file."""
DEFAULT = "constraint"
