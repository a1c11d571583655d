"""The Dataset controllers: `downstream` tells nodes what to count, `upstream` writes what they counted."""
