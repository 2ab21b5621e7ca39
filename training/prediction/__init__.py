"""What a checkpoint says of studies, label by label, whose truth nobody knows."""
