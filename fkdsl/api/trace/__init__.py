"""Trace files: a run written down as it goes, so that it can be read, replayed and resumed
(docs/trace.md).

header.py   what a run is: enough to build it again, and to tell two apart
file.py     the lines on the disk, whole or not at all
record.py   steps -> lines, as a run goes on; the beginning and the end of that
rebuild.py  lines -> steps, with a model or without one
replay.py   one particle's path, from steps
"""
