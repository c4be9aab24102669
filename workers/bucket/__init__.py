"""What a worker reads and writes in the bucket: inputs, checkpoints, previews, the finished video."""
