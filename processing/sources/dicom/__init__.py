"""DICOM studies as they come from an archive -> a BIDS folder with pseudonyms."""
