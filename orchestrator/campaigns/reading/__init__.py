"""A campaign's input: unpacked, told apart, read record by record, made into rows; in constant memory."""
