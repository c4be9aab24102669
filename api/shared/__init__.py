"""Routes that both dialects serve alike: files and batches."""
