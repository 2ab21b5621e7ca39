"""The comparison of objectives on simulated studies: arms, controls, floor, ceiling and paired intervals."""
