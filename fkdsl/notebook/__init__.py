"""Layer 7: fkdsl in a notebook: `%load_ext fkdsl`, then `%%fk`."""
