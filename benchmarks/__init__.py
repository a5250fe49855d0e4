"""How fast the product is, against plain alternatives measured in the same run. Not installed with it."""
