"""Look at a built dataset and check it: statistics, pictures, differences, duplicates, verification."""
