"""The evaluation report of one run or two: what it measures, its figures, its pages."""
