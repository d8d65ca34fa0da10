"""How a draw is made, and its weight."""
