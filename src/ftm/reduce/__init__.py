"""Firm topics to cross-firm themes, their names, and the tables a researcher works with."""
