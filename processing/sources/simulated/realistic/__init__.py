"""The realistic form of the simulated studies: patients with an age, scanners that differ, artefacts, two writers a
language, and splits that differ in more than chance. The simple form beside it stays as it is.

Read in the order patient, kinds, plan, head, lesions, scanners, scan, facts, writers, study.
"""
