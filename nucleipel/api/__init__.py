"""nucleipel in Python: arrays in, arrays out. `import nucleipel` has the names."""
