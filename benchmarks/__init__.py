"""How fast is it: ``python -m benchmarks all``, or ``make bench``."""
