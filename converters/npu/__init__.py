"""What neural processing units ask of a network, and the vendors' compilers that check it."""
