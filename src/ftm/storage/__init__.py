"""Objects, Parquet, manifests, checkpoints and leases in the store."""
