"""Pictures that videos begin at: checked at the door, kept by content, swept when no job needs them."""
