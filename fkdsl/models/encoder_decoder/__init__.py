"""Models that read a source text and write another: T5, BART and their like
(docs/encoder-decoders.md).

texts.py makes ids of sources and prompts, sources.py keeps what the encoder made of a source,
reading.py is the model without its forward, model.py with it, uncached.py with one that keeps
nothing; check.py is what they are compared with when they are loaded.
"""
