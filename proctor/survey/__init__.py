"""A class as a whole, for whoever teaches it."""
