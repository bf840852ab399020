"""One package per module.  A module never imports another module."""
