"""Where transcripts come from: WRDS, or the store."""
