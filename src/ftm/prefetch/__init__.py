"""Reading a quarter from WRDS once: plan, chunks, manifest."""
