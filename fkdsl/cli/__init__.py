"""Layer 7: the command line. stdout is the answer, stderr the rest."""
