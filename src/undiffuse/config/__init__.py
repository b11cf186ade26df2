"""Settings: frozen dataclasses, and their way to and from files. No torch here."""
