"""How fast it is: each measurement beside another of the same run, because times of different runs cannot be compared."""
