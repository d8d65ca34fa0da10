"""A checked program to ir: names become slots, control flow becomes labels and jumps."""
