"""Sentences to topics: embedding, clustering, keywords."""
