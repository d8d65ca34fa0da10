"""Editors: what they ask of a program as it is typed, the language server that answers, and how
programs are coloured.

    workspace.py    open texts and files -> analysis.py: a text, read around its mistakes
    hover.py, completion.py, signatures.py, outline.py, hints.py, actions.py, places.py, renames.py
                    analysis, place -> an answer as plain data
    server.py       the answers in the Language Server Protocol, by pygls
    grammar.py      words and names -> the TextMate grammar of vscode/, and the Pygments lexer's

Only server.py and translate.py need pygls (`pip install "fkdsl[editor]"`). Nothing here runs a
program or loads a model.
"""
