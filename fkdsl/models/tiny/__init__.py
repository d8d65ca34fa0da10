"""A byte-level transformer of our own: what it is, how it is trained, and the weights that ship
with the package."""
