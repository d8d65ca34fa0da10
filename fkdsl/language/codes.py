"""Every diagnostic's code and title. docs/errors/ has a page for each, with a bad and a good example that tests run.

FK1xx: the text is no program. FK2xx: names, types and calls. FK3xx: flow and declarations. FK4xx: while it runs.
"""

CODES: dict[str, str] = {
    # the text
    "FK101": "unclosed string",
    "FK102": "unclosed bracket",
    "FK103": "mismatched bracket",
    "FK104": "stray character",
    "FK105": "bad indentation",
    "FK106": "tabs mixed with spaces",
    "FK107": "not UTF-8",
    "FK108": "line or file too long",
    "FK109": "nested too deep",
    "FK110": "bad number",
    "FK111": "bad escape",
    "FK112": "bad f-string",
    "FK120": "unexpected text",
    "FK121": "missing indented block",
    "FK122": "missing colon",
    "FK123": "`=` where a value is wanted",
    "FK124": "not a name",
    "FK125": "not a word of this language",
    "FK126": "statement outside a program",
    "FK127": "reserved word as a name",
}
