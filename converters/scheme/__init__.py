"""The quantization scheme: levels, weights that no CPU's sums overflow, and the recipe.

It is what lowerings need to know of a decision; how one is found is `converters.quantization`'s.
"""
