"""Bisection: which operators of an int8 file cost it the answers of its float reference."""
