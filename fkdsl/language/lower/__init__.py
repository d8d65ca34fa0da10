"""Checked program -> ir."""
