"""Program text in its canonical form (`fkdsl fmt`): pieces -> spaces -> lines -> a whole file."""
