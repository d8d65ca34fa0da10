""".fk text -> tokens -> parse tree -> syntax tree."""
