"""Programs to begin with (`fkdsl new`): each with a test on a table of its own."""
