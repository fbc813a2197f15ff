"""Pages for a person: of one run, and of models side by side."""
