"""Trace files: a run written down as it goes, so that it can be read, replayed and resumed
(docs/trace.md).

header.py   the first line: what a run is, enough to build it again and to tell two runs apart
file.py     lines on the disk, each whole or not there at all
schema.py   what a line may hold
record.py   steps -> lines while a run goes on, from where the file ends
kept.py     the trace of a run that asked for none
rebuild.py  lines -> steps, with a model or without one
derive.py   whether the steps of a file are the run's own
replay.py   one particle's path, from steps
"""
