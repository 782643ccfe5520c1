"""The tables of the 2011 tool, right or as it printed them."""
