"""Names, types and rules that every layer shares; no I/O."""
