"""Methods that enumerate: every state, or the heaviest first, with certain bounds."""
