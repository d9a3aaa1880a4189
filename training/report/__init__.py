"""The evaluation of one run or two: what is measured of each network, as sections of a `Result`."""
