"""The command line: one file per verb; parses, calls the library, prints."""
