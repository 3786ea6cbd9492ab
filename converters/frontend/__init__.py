"""Reading a Keras model: what each of its layers and operations does, as operators of the graph."""
