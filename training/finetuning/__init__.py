"""Training a head on a pretrained series tower: labels of studies, and masks of lesions."""
