"""How fast a bundle is, and whether it still answers as the float model does."""
