"""Language models as structurers: pseudo reports to learn from, tuning with PEFT, inference on this machine."""
