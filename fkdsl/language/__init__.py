"""Layer 6: .fk text -> syntax tree -> checked program -> ir."""
