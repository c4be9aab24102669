"""Every answer of the API as a value; see each file for its own."""
