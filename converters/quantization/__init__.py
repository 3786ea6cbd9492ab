"""How int8 is found: once, on the frozen graph, as a scheme that every format lowers."""
