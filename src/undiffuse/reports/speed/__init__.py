"""How fast a model trains and samples on this machine, what it could reach, and what to change."""
