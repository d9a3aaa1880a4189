"""What is measured, by what a dataset has: nothing but images, labels, or pairs."""
