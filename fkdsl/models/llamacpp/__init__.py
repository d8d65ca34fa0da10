"""llama.cpp as what computes a model: gguf files, whose tensors stay quantised in memory.

library.py     the shared library, by ctypes: which one, its functions, and its parameters' layout
trial.py       one that the user has built, tried in a process of its own first
sequences.py   which of llama.cpp's sequences holds which context, and what a forward must copy
context.py     a context of llama.cpp: its sequences' keys and values, grown as they are needed
model.py       the LanguageModel
loading.py     from a gguf file to it
"""
