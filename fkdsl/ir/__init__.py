"""Layer 5, the intermediate representation: a program as straight code with labels (nodes.py), its
verifier, the passes over it, its printed form, and the build into code that runs."""
