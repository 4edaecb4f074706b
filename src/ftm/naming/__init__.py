"""Names for topics and themes: keywords, or a language model behind an OpenAI-compatible server."""
