"""The weights of a decoder by their place in it, whatever file they come from."""
