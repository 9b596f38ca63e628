"""Files written whole, JSON that anyone may have written, folders walked, and locks."""
