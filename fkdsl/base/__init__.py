"""Layer 0: source spans, diagnostics and their rendering, log-space sums, random streams,
errors."""
