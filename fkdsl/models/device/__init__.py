"""What a language model has on a device other than the processor.

rows.py    rows of the vocabulary that stay there
reads.py   what the draws of a population look at, in one transfer
"""
