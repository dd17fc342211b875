"""Models of LightGBM, from its text format; the library itself is not used."""
