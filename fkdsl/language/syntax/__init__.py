"""Text to a syntax tree: tokens (lexer.py, layout.py), the grammar (grammar.lark), the tree
(tree.py), and messages for what does not parse (syntax_errors.py, recovery.py)."""
