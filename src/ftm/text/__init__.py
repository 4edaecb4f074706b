"""From speaker turns to sentences: splitting, cleaning, kinds."""
