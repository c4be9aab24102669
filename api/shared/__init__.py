"""What dialects have alike: routes of files and of batches, lines of batches; and what a dialect is as an object."""
