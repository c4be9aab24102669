"""What can be asked of the API, each once, as a procedure that either client carries out."""
