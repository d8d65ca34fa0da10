"""Surrogates: hidden Markov models over a language model's tokens, small enough to look ahead with
exactly."""
