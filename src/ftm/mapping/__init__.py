"""The map stage: firms to topics, batch by batch."""
