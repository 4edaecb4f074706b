"""A synthetic WRDS quarter, the PostgreSQL to read it from, and what `ftm demo` makes of it."""
