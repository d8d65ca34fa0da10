"""Layer 6, the language: the text of a program to a checked program, and that to ir.

compile.py                      the chain, on one screen
syntax/ <- check/ <- lower/     its rooms; each imports those to its left only
formatting/                     what `fkdsl fmt` does, over syntax/
queries.py, expectations.py     expressions over what a program returns: `query` and `expect` lines
prelude.fk                      `text` and `word`, written in the language
codes.py                        every diagnostic's code, with its title
"""
