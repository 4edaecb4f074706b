"""A synthetic WRDS quarter with planted topics."""
