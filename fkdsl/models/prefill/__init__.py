"""Prompts that one process computed for others: in a file, or in a store that many machines share.

`contents.py` has what is kept of a context, `file.py` a file of all prompts of a program;
`blocks.py` cuts a context into blocks that are stored by the hash of what they depend on, and
`stores.py` is where blocks lie: a folder, an object store, Redis; `use.py` what a run had of them.
"""
