"""What a collection's vectors say of each other: near duplicates, leaks, outliers, a diverse subset."""
