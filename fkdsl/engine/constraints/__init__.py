"""Constraints on a text as masks over the next token: automata for what is regular, llguidance for
grammars."""
